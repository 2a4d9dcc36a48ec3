"""The one client of OpenAI-compatible chat endpoints (vLLM, SGLang, ``transformers serve``, hosted ones): teachers and judges ask through it.

Standard library only. One request is one completion, so that tokens are counted exactly a completion and a kill loses only what is in flight.
What can pass is tried again with growing pauses; what cannot ends the work with one line that names the address and the remedy. Replies that
came back before a failure are handed out first, so nothing that was paid for is lost.

    client = ChatClient("http://localhost:8000/v1", "Qwen/QwQ-32B-Preview", concurrency=64)
    for index, reply in client.ask([{"messages": [{"role": "user", "content": "1 + 1?"}], "max_tokens": 64}]): ...
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import ProxyHandler, Request, build_opener

MAX_REPLY = 4_000_000  # bytes of one reply
LONGEST_PAUSE = 30.0  # seconds between two tries
GRACE = 5.0  # seconds that requests in flight get after another one failed for good


class EndpointError(RuntimeError):
    """The endpoint could not be asked; the message names it, the last failure and what to do."""


@dataclass(frozen=True)
class Reply:
    """One completion. Token counts are the endpoint's own (``usage``), None where it does not say."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str


class ChatClient:
    """A model behind ``{url}/chat/completions``.

    Args:
        url: base, such as ``http://host:8000/v1``. model: name the endpoint serves.
        api_key_env: environment variable with the key, read at each request and kept nowhere; None for no key.
        timeout: seconds for one whole completion. retries: further tries after a timeout, a refused connection, 408, 429, a 5xx or a reply
            that is not a chat completion. backoff: seconds before the first retry, doubled each time, at most 30.
        concurrency: requests at a time. role: who is asked, for messages. error: what is raised, an EndpointError.

    Raises ValueError for a parameter out of range or a key that is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key_env: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 4,
        concurrency: int = 16,
        backoff: float = 0.5,
        role: str = "teacher",
        error: type[EndpointError] = EndpointError,
    ) -> None:
        if urlparse(url).scheme not in ("http", "https") or not urlparse(url).hostname:
            raise ValueError(f"{role} url {url!r}: an http or https address such as http://localhost:8000/v1")
        bounds = {"timeout": (timeout, 1e-3), "retries": (retries, 0), "concurrency": (concurrency, 1), "backoff": (backoff, 0)}
        for name, (value, least) in bounds.items():
            if not least <= value < float("inf"):
                raise ValueError(f"{role} {name}={value}: at least {least}")
        if api_key_env and not os.environ.get(api_key_env):
            raise ValueError(f"the {role}'s api_key_env names {api_key_env}, and that environment variable is not set")
        self.url, self.model, self.api_key_env, self.timeout = url.rstrip("/"), model, api_key_env, timeout
        self.retries, self.concurrency, self.backoff, self.role, self.error = retries, concurrency, backoff, role, error

    def ask(self, bodies: Iterable[dict[str, Any]]) -> Iterator[tuple[int, Reply]]:
        """(number of the request, its reply) as they come back. ``bodies``: requests without the model's name, taken as they are needed.

        Raises EndpointError as soon as one request has no answer after its retries.
        """
        source, taking, stop = enumerate(bodies), threading.Lock(), threading.Event()
        done: queue.Queue[tuple[int, Reply | BaseException | None]] = queue.Queue()

        def work() -> None:
            index = -1
            try:
                while not stop.is_set():
                    with taking:
                        index, body = next(source, (-1, None))
                    if body is None:
                        break
                    done.put((index, self._try(body, stop)))
            except BaseException as error:  # the caller's iterable may raise too
                done.put((index, error))
            done.put((-1, None))

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.concurrency)]
        for thread in threads:  # daemons: a request that hangs must not keep a failed or interrupted run from ending
            thread.start()
        running, failure, deadline = len(threads), None, None
        try:
            while running:
                try:
                    index, found = done.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if found is None:
                    running -= 1
                elif isinstance(found, Reply):
                    yield index, found
                else:
                    failure = failure or found
                    stop.set()
                    deadline = deadline or time.monotonic() + min(GRACE, self.timeout)
            if failure is not None:
                raise failure
        finally:
            stop.set()

    def _try(self, body: dict[str, Any], stop: threading.Event) -> Reply:
        data, failure, tries = json.dumps({"model": self.model, **body}).encode(), "", 0
        for attempt in range(self.retries + 1):
            tries, pause = attempt + 1, self.backoff * 2**attempt
            try:
                return self._post(data)
            except HTTPError as error:
                failure = f"HTTP {error.code} {error.reason}{_said(error)}"
                if error.code not in (408, 429) and error.code < 500:  # the same request would be refused again
                    raise self.error(
                        f"{self.role} endpoint {self.url} refuses the request: {failure}; {self._remedy(error.code)}"
                    ) from None
                pause = max(pause, _retry_after(error))
            except TimeoutError:
                failure = f"no answer within {self.timeout:g} s"
            except (URLError, HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                failure = (
                    f"no answer within {self.timeout:g} s" if isinstance(reason, TimeoutError) else f"{reason or type(error).__name__}"
                )
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                failure = f"a reply that is not a chat completion ({type(error).__name__}: {error})"
            if attempt < self.retries and stop.wait(min(LONGEST_PAUSE, pause)):
                break
        raise self.error(
            f"{self.role} endpoint {self.url} failed {tries} times, last: {failure}; check that it runs and serves {self.model!r}"
            + (", or raise the timeout" if "no answer within" in failure else "")
        )

    def _remedy(self, code: int) -> str:
        if code in (401, 403):
            return "give the key's environment variable (api_key_env)"
        if code == 404:
            return f"the address must end before /chat/completions, and serve {self.model!r}"
        return "mend what it says"

    def _post(self, data: bytes) -> Reply:
        headers = {"Content-Type": "application/json"}
        if self.api_key_env:
            headers["Authorization"] = f"Bearer {os.environ.get(self.api_key_env, '')}"
        local = urlparse(self.url).hostname in ("localhost", "127.0.0.1", "::1")  # a proxy set for the outside must not swallow it
        opener = build_opener(ProxyHandler({})) if local else build_opener()
        deadline = time.monotonic() + self.timeout
        raw = b""
        with opener.open(Request(f"{self.url}/chat/completions", data, headers), timeout=self.timeout) as response:
            while chunk := response.read1(65_536):  # the socket's own timeout starts anew with every byte
                raw += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(raw) > MAX_REPLY:
                    raise ValueError(f"more than {MAX_REPLY} bytes")
        return _read(json.loads(raw))


def _read(reply: dict[str, Any]) -> Reply:
    choice = reply["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise TypeError("the message has no text")
    # Servers with a reasoning parser (vLLM) take the chain of thought out of the text, and it is the chain that a teacher is asked for.
    thought = choice["message"].get("reasoning_content") or choice["message"].get("reasoning")
    if isinstance(thought, str) and thought.strip():
        text = f"{thought.rstrip()}\n\n{text.lstrip()}"
    usage = reply.get("usage") or {}
    counts = [n if isinstance(n := usage.get(f"{kind}_tokens"), int) and n >= 0 else None for kind in ("prompt", "completion")]
    return Reply(text, counts[0], counts[1], str(choice.get("finish_reason") or "stop"))


def _said(error: HTTPError) -> str:
    """What the server says about its refusal, one short line."""
    try:
        text = error.read(2_000).decode(errors="replace")
    except (OSError, HTTPException):
        return ""
    try:
        found = json.loads(text)
        inner = found.get("error", found)
        text = str(inner.get("message") or inner.get("detail") or inner) if isinstance(inner, dict) else str(inner)
    except (ValueError, AttributeError):
        pass
    line = " ".join(text.split())[:200]
    return f" ({line})" if line else ""


def _retry_after(error: HTTPError) -> float:
    try:
        return float(error.headers.get("Retry-After", 0))
    except (TypeError, ValueError):  # a date
        return 0.0
