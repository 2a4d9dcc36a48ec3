"""What generates the samples of an evaluation: transformers (with our own sampler where it knows the architecture) or vLLM.

Both stand behind one method and take a key a sample, from which its random numbers come, so that a sample does not depend on which others
are asked for. Exact for our sampler; ``generate`` of transformers draws for a batch as a whole, and vLLM's kernels round by batch. Stop
strings are looked for in the tokens that came back, in the same way for both engines, so they mean the same; vLLM is also told to stop there,
while transformers goes on to EOS or the limit and is cut.

    engine = make("transformers", path, tokenizer, length=320)
    engine.complete([[3, 17, 4]], ["0/math500/q1/0"], max_tokens=160, temperature=0.7, top_p=0.95, stop=("\\nProblem:",))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from repro.config import ConfigError
from repro.models.stop_tokens import stop_ids, stop_ids_of, without_stop

INSTALL = "pip install 'vllm==0.31.0' (or pip install -e '.[gpu]')"


@dataclass(frozen=True)
class Completion:
    """``tokens``: ids, with EOS if it was reached, up to the one that completed a stop string. ``text``: without special tokens, cut before
    the stop string. ``finish``: ``stop`` at EOS or a stop string, ``length`` at the limit.
    """

    tokens: list[int]
    text: str
    finish: str


class Engine(Protocol):
    """``batch``: how many samples to hand over at once, unless the user says."""

    batch: int

    def complete(
        self,
        prompts: list[list[int]],
        keys: Sequence[str],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        stop: Sequence[str] = (),
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Completion]:
        """One completion a prompt, in order.

        Args:
            keys: one a prompt, what tells this sample from all others; decides its random numbers.
            max_tokens: of a completion, EOS included.
            temperature: 0 is greedy.
            stop: strings that end a response; they are not part of its text.
            progress: called with the number of completions that ended.
        """


def special_stops(tokenizer, stop: Sequence[str]) -> set[int]:
    """Ids of the stop strings that are one added token of this tokenizer: they never show in a text without special tokens."""
    added = tokenizer.get_added_vocab()
    return {added[text] for text in stop if text in added}


def cut(tokenizer, tokens: list[int], stop: Sequence[str], stops: Collection[int], finish: str | None = None) -> Completion:
    """Return the completion that ends at the first stop string of ``tokens``.

    Args:
        tokenizer: decodes them.
        tokens: as the engine gave them back.
        stop: strings that end a response.
        stops: ids that end a completion (``repro.models.stop_tokens``).
        finish: why the engine ended where there is no stop string, None to tell by the last token.
    """
    ids = special_stops(tokenizer, stop)
    if at := next((i + 1 for i, token in enumerate(tokens) if token in ids), 0):
        tokens, finish = tokens[:at], "stop"
    shown = without_stop(tokens, stops)
    text = tokenizer.decode(shown, skip_special_tokens=True)
    places = [place for part in stop if (place := text.find(part)) >= 0]
    if not places:
        return Completion(tokens, text, finish or ("stop" if len(shown) < len(tokens) else "length"))
    # The fewest tokens that show a stop string; by bisection, since decoding every prefix of a long chain would be quadratic.
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        shown = tokenizer.decode(tokens[:middle], skip_special_tokens=True)
        low, high = (low, middle) if any(part in shown for part in stop) else (middle + 1, high)
    return Completion(tokens[:low], text[: min(places)], "stop")


class TransformersEngine:
    """``repro.models.generate``. ``model``: loaded one, else that of ``path``; ``length`` is not needed."""

    batch = 32

    def __init__(self, path: Path, tokenizer, length: int = 0, model: Any = None) -> None:
        from repro.models.load import load_model

        self.model, self.tokenizer = load_model(path) if model is None else model, tokenizer

    def complete(self, prompts, keys, *, max_tokens, temperature, top_p, stop=(), progress=lambda done: None) -> list[Completion]:
        from repro.models.generate import generate

        sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        settings = {**sampling, "keys": keys, "batch_size": max(1, len(prompts)), "progress": progress}
        stops = stop_ids(self.tokenizer, self.model.generation_config)
        return [cut(self.tokenizer, tokens, stop, stops) for tokens in generate(self.model, self.tokenizer, prompts, **settings)]


class VLLMEngine:
    """vLLM on the GPUs of this machine. The checkpoint's own sampling defaults are not used; ``length`` is the longest prompt + answer.

    Raises:
        ConfigError: vLLM is not installed, or cannot load the checkpoint.
    """

    batch = 2048  # it schedules by itself; a batch is only what a kill may lose

    def __init__(self, path: Path, tokenizer, length: int) -> None:
        try:
            import vllm
        except ImportError as error:
            raise ConfigError(f"engine=vllm: vLLM cannot be imported ({error}); install it with {INSTALL}") from None
        from repro.models.load import device_name

        self.vllm, self.tokenizer, self.stops = vllm, tokenizer, stop_ids_of(path, tokenizer)
        try:
            dtype = "bfloat16" if device_name() == "cuda" else "float32"  # as repro.models.load; left to itself vLLM halves on a CPU too
            self.model = vllm.LLM(model=str(path), max_model_len=length, generation_config="vllm", seed=0, dtype=dtype)
        except (RuntimeError, ValueError, OSError) as error:  # no GPU, unknown architecture, too little memory
            line = next(iter(str(error).strip().splitlines()), "?")
            raise ConfigError(f"engine=vllm cannot load {str(path)!r} ({type(error).__name__}: {line}); try engine=transformers") from None

    def complete(self, prompts, keys, *, max_tokens, temperature, top_p, stop=(), progress=lambda done: None) -> list[Completion]:
        ids = special_stops(self.tokenizer, stop)
        added = self.tokenizer.get_added_vocab()
        shared = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p if temperature > 0 else 1.0}
        shared |= {"stop": [text for text in stop if text not in added] or None, "stop_token_ids": sorted({*ids, *self.stops})}
        params = [self.vllm.SamplingParams(**shared, seed=number(key)) for key in keys]
        outputs = self.model.generate([{"prompt_token_ids": list(p)} for p in prompts], params, use_tqdm=False)
        progress(len(outputs))
        found = [output.outputs[0] for output in outputs]
        return [
            cut(self.tokenizer, list(f.token_ids), stop, self.stops, "length" if f.finish_reason == "length" else "stop") for f in found
        ]


def number(key: str) -> int:
    """Seed of a sample from its key, in [0, 2^63)."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


ENGINES = {"transformers": TransformersEngine, "vllm": VLLMEngine}


def make(name: str, path: Path, tokenizer, length: int) -> Engine:
    """The engine of that name with the checkpoint loaded. length: longest prompt + answer in tokens.

    Raises:
        ConfigError: unknown name, or as the engine says.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine={name} does not exist: choose one of {', '.join(ENGINES)}")
    return ENGINES[name](path, tokenizer, length)
