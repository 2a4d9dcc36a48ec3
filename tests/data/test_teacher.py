"""Teachers and their journal: exact tokens, lazy requests, what a failure leaves behind, kills, damage, two endpoints' habits."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.client import ChatClient, EndpointError
from repro.config import ConfigError
from repro.data.journal import Journal
from repro.data.teacher import Completion, EndpointTeacher, EngineTeacher, request_seed

SAMPLING = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 16}


class Endpoint:
    """Serves what ``answer(body)`` returns: a dict (the reply), a number (a status) or bytes; keeps every body.

    trickle: instead, a reply of one byte now and then until it is set.
    """

    def __init__(self, answer, trickle: threading.Event | None = None):
        self.bodies: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                if trickle is not None:
                    self.send_response(200)
                    self.end_headers()
                    with contextlib.suppress(OSError):  # the client went away
                        while not trickle.wait(0.02):
                            self.wfile.write(b" ")
                    return
                found = answer(body)
                status = found if isinstance(found, int) else 200
                data = (
                    found
                    if isinstance(found, bytes)
                    else json.dumps({"error": {"message": "context of\n 9 tokens"}} if status != 200 else found).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def teacher(self, **options) -> EndpointTeacher:
        return EndpointTeacher(ChatClient(self.url, "m", **{"timeout": 5, "retries": 1, "backoff": 0.01, "concurrency": 4, **options}))


def chat(text: str, prompt: int | None = 3, completion: int | None = 7, finish: str = "stop", **more) -> dict:
    usage = None if prompt is None else {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [{"message": {"content": text, **more}, "finish_reason": finish}], "usage": usage}


def echo(body: dict) -> dict:
    return chat(f"{body['messages'][-1]['content']} {body['seed']}", len(body["messages"][-1]["content"]), body["seed"] % 100)


def test_every_sample_once_with_its_own_seed_and_tokens():
    prompts = ["a", [{"role": "system", "content": "s"}, {"role": "user", "content": "bb"}]]
    with Endpoint(echo) as server:
        found = {(c.prompt, c.sample): c for c in server.teacher().generate(prompts, 3, **SAMPLING, seed=5)}
        some = list(server.teacher().generate(prompts, 3, **SAMPLING, seed=5, samples=[[2], []]))
    assert set(found) == {(p, s) for p in range(2) for s in range(3)}
    for (prompt, sample), completion in found.items():
        seed = request_seed(prompts[prompt], sample, 5)
        assert completion.text == f"{'a' if prompt == 0 else 'bb'} {seed}"
        assert (completion.prompt_tokens, completion.completion_tokens) == (prompt + 1, seed % 100)
    assert len({c.text for c in found.values()}) == 6
    assert some == [found[0, 2]]
    assert {(b["temperature"], b["top_p"], b["max_tokens"], b["model"]) for b in server.bodies} == {(1.0, 0.95, 16, "m")}


@pytest.mark.parametrize(
    ("reply", "text", "tokens", "finish"),
    [
        (chat("x", None), "x", (None, None), "stop"),
        (chat("x", -1, "7"), "x", (None, None), "stop"),
        (chat("so 4", finish="length", reasoning_content="2 and 2\n"), "2 and 2\n\nso 4", (3, 7), "length"),
        (chat("", finish=None), "", (3, 7), "stop"),
    ],
)
def test_habits_of_servers(reply, text, tokens, finish):
    with Endpoint(lambda body: reply) as server:
        (found,) = server.teacher().generate(["a"], **SAMPLING, seed=0)
    assert (found.text, (found.prompt_tokens, found.completion_tokens), found.finish_reason) == (text, tokens, finish)


@pytest.mark.parametrize("trouble", [400, 500, b"<html>", b'{"choices": [{"message": {}}]}', b"[]", b'"x"', b'{"choices": [7]}'])
def test_what_came_before_a_failure_is_kept(tmp_path, trouble):
    """The tenth request fails for good; the others that came back are in the journal and are not asked again."""
    bad = threading.Event()

    def answer(body):
        return trouble if body["messages"][0]["content"] == "p9" and not bad.is_set() else echo(body)

    prompts = [f"p{i}" for i in range(30)]
    with Endpoint(answer) as server, Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(EndpointError, match=server.url.replace(".", r"\.")) as raised:
            journal.ask(server.teacher(), prompts, 1, SAMPLING, 0)
        assert "\n" not in str(raised.value) and (trouble != 400 or "context of 9 tokens" in str(raised.value))
        kept = len(journal.places)
        assert kept >= 6  # of the nine before it three may have been in flight
        first = len(server.bodies)
        bad.set()
        journal.ask(server.teacher(), prompts, 1, SAMPLING, 0)
        assert len(journal.places) == 30 and len(server.bodies) - first == 30 - kept
        assert journal.read("m", "p9", 0, SAMPLING, 0).text.startswith("p9 ")


def test_requests_are_taken_as_they_are_needed():
    taken = []

    def bodies():
        for i in range(1000):
            taken.append(i)
            yield {"messages": [{"role": "user", "content": str(i)}], "seed": 0}

    with Endpoint(echo) as server:
        replies = ChatClient(server.url, "m", concurrency=2, timeout=5).ask(bodies())
        next(replies)
        replies.close()
        time.sleep(0.2)
    assert len(taken) < 1000


def test_an_iterable_that_fails_fails_the_call():
    def bodies():
        yield {"messages": [{"role": "user", "content": "1"}], "seed": 0}
        raise KeyError("prompt")

    with Endpoint(echo) as server, pytest.raises(KeyError, match="prompt"):
        list(ChatClient(server.url, "m", concurrency=1, timeout=5).ask(bodies()))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("trickle", [False, True])
def test_an_endpoint_that_hangs_or_never_ends_its_reply_ends_the_run(trickle):
    """It is asked 50 prompts and has an hour for each: only the client's own timeout ends this."""
    ended = threading.Event()

    def answer(body):
        ended.wait(3600)
        return echo(body)

    with Endpoint(answer, trickle=ended if trickle else None) as server:
        with pytest.raises(EndpointError, match=r"no answer within 0\.2 s.*raise the timeout"):
            list(server.teacher(timeout=0.2).generate(["a"] * 50, **SAMPLING, seed=0))
        ended.set()


def test_an_endpoint_that_sends_without_end_is_cut_off():
    with Endpoint(lambda body: b" " * 5_000_000) as server, pytest.raises(EndpointError, match="more than 4000000 bytes"):
        list(server.teacher(retries=0).generate(["a"], **SAMPLING, seed=0))


def test_a_full_disk_stops_with_what_is_whole(tmp_path):
    """A journal that may not grow further: the error is the system's, the next run drops the torn line and asks for the rest."""
    path = tmp_path / "j.jsonl"
    script = f"""
import pathlib, resource
from repro.data.journal import Journal
from tests.data.test_teacher import SAMPLING, Counting
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Journal(pathlib.Path({str(path)!r})) as journal:
    journal.ask(Counting(), [f"p{{i}}" for i in range(50)], 1, SAMPLING, 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "OSError: [Errno 27]" in done.stderr.splitlines()[-1]
    assert path.stat().st_size == 1000 and not path.read_bytes().endswith(b"\n")
    kept = path.read_bytes().count(b"\n")
    teacher = Counting()
    with Journal(path) as journal:
        journal.ask(teacher, [f"p{i}" for i in range(50)], 1, SAMPLING, 0)
    assert kept > 0 and len(teacher.asked) == 50 - kept


class Counting:
    """A teacher whose samples are a function of what is asked; counts them."""

    def __init__(self, fail_after=None, name="t"):
        self.name, self.asked, self.fail_after = name, [], fail_after

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None):
        for index, prompt in enumerate(prompts):
            for sample in range(n) if samples is None else samples[index]:
                if self.fail_after is not None and len(self.asked) >= self.fail_after:
                    raise EndpointError("down")
                self.asked.append((prompt, sample))
                yield Completion(index, sample, f"{prompt}/{sample}/{seed}", 1, sample, "stop")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_sequence_of_kills_asks_everything_once(tmp_path, data):
    """Runs that end anywhere, a torn tail after each, N that grows: in the end every sample was asked once and is there."""
    path = tmp_path / f"{uuid.uuid4().hex}.jsonl"  # every example its own
    prompts = [f"p{i}" for i in data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))]
    asked = []
    for _ in range(data.draw(st.integers(0, 4))):
        teacher = Counting(fail_after=data.draw(st.integers(0, 6)))
        with Journal(path) as journal, contextlib.suppress(EndpointError):
            journal.ask(teacher, prompts, data.draw(st.integers(1, 3)), SAMPLING, 0)
        asked += teacher.asked
        with open(path, "ab") as file:
            file.write(data.draw(st.sampled_from([b"", b'["abc', b'["abc", {"text": "\xc3'])))
    teacher = Counting()
    with Journal(path) as journal:
        journal.ask(teacher, prompts, 3, SAMPLING, 0)
        asked += teacher.asked
        for prompt in prompts:
            for sample in range(3):
                assert journal.read("t", prompt, sample, SAMPLING, 0).text == f"{prompt}/{sample}/0"
    assert len(asked) == len(set(asked)) == 3 * len(set(prompts))
    assert len(path.read_bytes().splitlines()) == len(asked)


def test_damage_costs_what_it_hit_and_settings_are_kept_apart(tmp_path, caplog):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.ask(Counting(), ["a", "b", "c"], 1, SAMPLING, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff" + lines[1][2:] + lines[2])
    teacher = Counting()
    with Journal(path) as journal:
        journal.ask(teacher, ["a", "b", "c"], 1, SAMPLING, 0)
        assert teacher.asked == [("b", 0)] and "1 damaged lines" in caplog.text
        for other in (({**SAMPLING, "temperature": 0.7}, 0, "t"), (SAMPLING, 1, "t"), (SAMPLING, 0, "u")):
            fresh = Counting(name=other[2])
            journal.ask(fresh, ["a"], 1, other[0], other[1])
            assert fresh.asked == [("a", 0)]
            assert journal.read(other[2], "a", 0, *other[:2]).text == f"a/0/{other[1]}"
        with pytest.raises(KeyError):
            journal.read("t", "z", 0, SAMPLING, 0)


@pytest.fixture(scope="module")
def checkpoint():
    from pathlib import Path

    import repro.models.base

    return Path(repro.models.base.__file__).parent / "llama" / "model"


def test_a_checkpoint_teaches_the_same_whole_or_in_parts(checkpoint):
    prompts = ["find x : D2 C5 B1 A3 =6", "find x : D1 C1 B0 A3 =2"]
    sampling = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 24}
    teacher = EngineTeacher(checkpoint, max_length=320)
    whole = {(c.prompt, c.sample): c for c in teacher.generate(prompts, 3, **sampling, seed=1)}
    part = list(teacher.generate(prompts, 3, **sampling, seed=1, samples=[[], [2]]))
    assert part == [whole[1, 2]] and len(whole) == 6
    for completion in whole.values():
        ids = teacher.tokenizer(completion.text)["input_ids"]
        assert completion.prompt_tokens == 10 and completion.finish_reason in ("stop", "length")
        assert completion.completion_tokens == len(ids) + (completion.finish_reason == "stop")
    assert {c.text for c in teacher.generate(prompts, 3, **sampling, seed=2)} != {c.text for c in whole.values()}
    short = EngineTeacher(checkpoint, max_length=20, cut=True)  # a context that the answers do not fit into
    for completion in short.generate([*prompts, f"{prompts[0]} A1"], 2, **{**sampling, "max_tokens": 10**9}, seed=1):
        assert completion.prompt_tokens + completion.completion_tokens <= 20
        assert completion.finish_reason == "length" or completion.prompt_tokens + completion.completion_tokens <= 20
        if completion.prompt < 2:
            assert whole[completion.prompt, completion.sample].text.startswith(completion.text)
    with pytest.raises(ConfigError, match=r"leaves no room for an answer|after a prompt of 602"):
        list(teacher.generate(["find x " * 300], **sampling, seed=0))
