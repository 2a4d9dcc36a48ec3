"""Teachers: models that answer prompts many times. A checkpoint through the evaluation's engines, or an OpenAI-compatible endpoint.

Both hand out completions as they end, each with its prompt's number, its sample's number and its exact tokens. A sample's random seed is a
hash of (seed, prompt, sample), so it does not depend on what else is asked for, and asking again for the missing half gives the missing half.
(Exact for our own sampler; ``generate`` of transformers and vLLM depend on the batch, an endpoint on its server.)

    teacher = EndpointTeacher(ChatClient("http://localhost:8000/v1", "Qwen/QwQ-32B-Preview"))
    for completion in teacher.generate(["1 + 1?"], n=4, temperature=1.0, top_p=0.95, max_tokens=8192, seed=0): ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from repro.client import ChatClient
from repro.config import ConfigError
from repro.models.positions import longest_prompt, positions_of, refuse_longer

Prompt = str | list[dict[str, str]]  # one user message, or a conversation


@dataclass(frozen=True)
class Completion:
    """``prompt``, ``sample``: which one it is. Token counts are the engine's or the endpoint's; None where an endpoint does not say.
    ``finish_reason``: ``stop``, ``length`` (cut), or the endpoint's own word. ``log``: what a method of several calls did, JSON-able."""

    prompt: int
    sample: int
    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str
    log: list[dict[str, Any]] | None = None


class Teacher(Protocol):
    """``name`` tells it from other teachers, also in what was recorded."""

    name: str

    def generate(
        self,
        prompts: Sequence[Prompt],
        n: int = 1,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        samples: Sequence[Sequence[int]] | None = None,
    ) -> Iterator[Completion]:
        """``n`` completions a prompt, in the order in which they end.

        Args:
            samples: numbers of the samples wanted of every prompt, instead of 0..n-1.
            max_tokens: of one completion. temperature: 0 is greedy.

        Raises:
            EndpointError: the endpoint cannot be asked. ConfigError: the checkpoint cannot be used.
        """


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """Return a prompt as a conversation."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def user_text(prompt: Prompt) -> str:
    """Return what the user says in a prompt, turn by turn on lines of their own."""
    return "\n".join(turn["content"] for turn in messages(prompt) if turn["role"] == "user")


def sample_key(prompt: Prompt, sample: int, seed: int) -> str:
    """What tells a sample from all others of this teacher; decides its random numbers."""
    return hashlib.sha256(json.dumps([seed, messages(prompt), sample]).encode()).hexdigest()


def request_seed(prompt: Prompt, sample: int, seed: int) -> int:
    """The seed that an endpoint is sent for a sample, 31 bits."""
    return int(sample_key(prompt, sample, seed)[:8], 16) >> 1


def wanted(count: int, n: int, samples: Sequence[Sequence[int]] | None) -> Iterator[tuple[int, int]]:
    """(prompt, sample) of everything asked for."""
    for prompt in range(count):
        for sample in range(n) if samples is None else samples[prompt]:
            yield prompt, sample


class EndpointTeacher:
    """A model behind a chat endpoint: one request a completion, ``client.concurrency`` at a time."""

    def __init__(self, client: ChatClient) -> None:
        self.client, self.name = client, client.model

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None) -> Iterator[Completion]:
        asked: list[tuple[int, int]] = []

        def bodies() -> Iterator[dict[str, Any]]:
            for prompt, sample in wanted(len(prompts), n, samples):
                asked.append((prompt, sample))
                settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
                settings["seed"] = request_seed(prompts[prompt], sample, seed)
                yield {"messages": messages(prompts[prompt]), **settings}

        for index, reply in self.client.ask(bodies()):
            yield Completion(*asked[index], reply.text, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason)


class EngineTeacher:
    """A checkpoint in this process.

    Args:
        path: folder of the checkpoint. engine: ``transformers`` or ``vllm``. max_length: longest prompt + completion, tokens, or the
            checkpoint's positions where those are fewer (Qwen2.5-Math-72B-Instruct: 4,096).
        cut: a completion may be cut there, as where prompts grow with the completions before; else what may not fit is refused.
        name: for records and journals; the path by default.
    """

    def __init__(
        self, path: Path, engine: str = "transformers", max_length: int = 16_384, name: str | None = None, cut: bool = False
    ) -> None:
        from evals.engines import make
        from repro.models.load import load_tokenizer

        self.tokenizer = load_tokenizer(path)  # first, since it says in one line that a folder is no checkpoint
        context = positions_of(path)
        self.path, self.cut = path, cut
        self.max_length, self.name = min(max_length, context or max_length), name or str(path)
        self.engine = make(engine, path, self.tokenizer, self.max_length)

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None) -> Iterator[Completion]:
        if not self.cut:
            room = (positions_of(self.path) or self.max_length) - max_tokens
            longest = longest_prompt(self.tokenizer, map(messages, prompts), room)
            refuse_longer(
                self.path,
                longest + max_tokens,
                f"max_tokens={max_tokens} after a prompt of {longest}",
                f"set the teacher's max_tokens to at most {max(0, room + max_tokens - longest)}",
            )
        pairs = wanted(len(prompts), n, samples)
        while batch := list(islice(pairs, self.engine.batch)):
            ids = {prompt: self._encode(prompts[prompt]) for prompt, _ in batch}
            longest = max(map(len, ids.values()))
            if longest >= self.max_length:
                raise ConfigError(
                    f"teacher {self.name}: a prompt has {longest} tokens and leaves no room for an answer in {self.max_length}; "
                    "leave it out, or raise max_prompt if the model's context allows"
                )
            keys = [sample_key(prompts[prompt], sample, seed) for prompt, sample in batch]
            most = min(max_tokens, self.max_length - min(map(len, ids.values())))
            settings = {"max_tokens": most, "temperature": temperature, "top_p": top_p}
            found = self.engine.complete([ids[prompt] for prompt, _ in batch], keys, **settings)
            for (prompt, sample), done in zip(batch, found, strict=True):
                text, tokens, finish = done.text, done.tokens, done.finish
                if len(tokens) > (room := self.max_length - len(ids[prompt])):  # a shorter prompt of the batch had more
                    tokens, finish = tokens[:room], "length"
                    text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                yield Completion(prompt, sample, text, len(ids[prompt]), len(tokens), finish)

    def _encode(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.apply_chat_template(messages(prompt), add_generation_prompt=True, tokenize=True, return_dict=False)
