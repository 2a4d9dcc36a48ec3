"""The reference-guided LLM judge of the paper's section 5, as a verifier: any causal language model, in this process or behind an endpoint.

    backend = EndpointBackend("http://localhost:8000/v1", "Qwen/Qwen2.5-7B-Instruct", api_key_env="JUDGE_KEY")
    JudgeVerifier(backend).verify("an increase of entropy", response).correct

The judge sees the reference and the last 20 lines of the response, not the question, and ends with a line ``Judgement: <label>``; only
``correct`` scores (``reward/judge.py`` of the paper's code, divergences D-12 to D-14; the wording here is our own). Unlike the original it keeps
every raw judgement, reads the label by a parser that works (``parser="legacy"`` is the original's, faults included), caps the text sent, and
never turns a failing endpoint into a wrong answer: that raises JudgeError.

A micro judge for offline runs is a model fine-tuned on ``judge_example`` pairs; they come from the same template as the judge's prompt.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

from repro.client import ChatClient, EndpointError
from repro.verifiers.verdict import GoldError, Verdict, check_kind, check_task

VERSION = "1.0"
LABELS = ("correct", "wrong", "not_found")
LAST_LINES = 20
MAX_CHARS = 16_000  # of the response: twenty lines without a line break can fill any context
TEMPLATE = """You are grading a response by its final answer alone. Below are the reference answer and the end of the response.

[Reference]
{reference}

[End of the response]
{response}

Compare the final answer of the response with the reference, step by step. The way to the answer does not count, only whether both say the \
same. Then end with exactly one line, one of these three:
Judgement: correct
Judgement: wrong
Judgement: not_found
The last is for a response that gives no final answer."""

# The original's pattern: the label may have any case, but is then compared with "correct" in lower case (D-14).
_LEGACY = re.compile(r"judgement:\s+(correct|wrong|not_found)", re.I)
# Ours: both spellings, any case, angle brackets and bold signs; a list of labels ("correct/wrong") is no label.
_FIXED = re.compile(
    r"judge?ment[\s*_`]{0,9}:[\W_]{0,12}(correct|wrong|incorrect|not[ _-]?found)(?![a-z0-9])(?!_[a-z])(?!\s{0,3}[/|])", re.I
)


class JudgeError(EndpointError):
    """The judge could not be asked; the message names the endpoint and the last failure."""


class Backend(Protocol):
    """Turns prompts into texts, greedily. ``name`` is the model, for the verifier's version."""

    name: str

    def complete(self, prompts: Sequence[str]) -> list[str]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class JudgeVerdict(Verdict):
    """A verdict and the raw text it was read from; ``""`` where the judge was not asked."""

    judgement: str = ""


def judge_prompt(gold: str, response: str, *, last_lines: int = LAST_LINES, template: str = TEMPLATE, separator: str = "\n") -> str:
    """The text the judge is asked: reference and the end of the response, its last ``last_lines`` lines (words, with a blank for
    ``separator``, where responses have no lines)."""
    end = separator.join(response[-4 * MAX_CHARS :].rstrip().split(separator)[-last_lines:])[-MAX_CHARS:]
    return template.format(reference=gold.strip(), response=end)


def judge_example(
    gold: str,
    response: str,
    label: str,
    *,
    reasoning: str = "",
    last_lines: int = LAST_LINES,
    template: str = TEMPLATE,
    separator: str = "\n",
) -> tuple[str, str]:
    """(prompt, completion) for fine-tuning a judge, made by the code that asks it.

    ``reasoning`` goes before the judgement line. Raises ValueError for a label that is none of ``LABELS``.
    """
    if label not in LABELS:
        raise ValueError(f"judge label {label!r} does not exist; choose one of {', '.join(LABELS)}")
    prompt = judge_prompt(gold, response, last_lines=last_lines, template=template, separator=separator)
    return prompt, f"{reasoning}\nJudgement: {label}".lstrip("\n")


def parse_fixed(text: str) -> str | None:
    """The last label of a judgement, ``incorrect`` being ``wrong``; None where there is none."""
    found = _FIXED.findall(text)
    if not found:
        return None
    label = found[-1].lower()
    return {"incorrect": "wrong", "correct": "correct", "wrong": "wrong"}.get(label, "not_found")


def parse_legacy(text: str) -> str | None:
    """The label as the paper's code reads it: the label of the first line that has one, as it is written.

    Its faults (D-14), all of them false negatives but the last: "Judgement: Correct" is found and is not "correct"; ``<correct>`` (as its own
    template shows it), bold signs, "Judgment" and a missing blank are not found; a first line outvotes a later correction;
    "Judgement: correctly answered: no" is "correct".
    """
    found = list(_LEGACY.finditer(text))
    if not found:
        return None
    line = text.find("\n", found[0].start())  # of two on the first line that has one, the original's greedy pattern takes the later
    return [match.group(1) for match in found if line < 0 or match.start() < line][-1]


class JudgeVerifier:
    """LLM judge with the calls of ``Verifier``.

    Args:
        backend: ``TransformersBackend``, ``EndpointBackend`` (timeouts and retries are its own) or anything with ``complete`` and ``name``.
        parser: ``fixed``, or ``legacy`` for the paper code's.
        last_lines: lines of the response that the judge sees; the paper's 20.
        template: prompt with ``{reference}`` and ``{response}``; a micro judge has a smaller vocabulary.
        separator: of the lines; a blank counts words.

    Not sent, and without an answer: blank and truncated outputs. The version holds a hash of model name, prompt and lines. ``unparsable`` counts
    judgements without a label, which are wrong. Raises ValueError for a parameter out of range.
    """

    def __init__(
        self, backend: Backend, *, parser: str = "fixed", last_lines: int = LAST_LINES, template: str = TEMPLATE, separator: str = "\n"
    ) -> None:
        parsers = {"fixed": parse_fixed, "legacy": parse_legacy}
        if parser not in parsers:
            raise ValueError(f"judge parser {parser!r} does not exist; choose one of {', '.join(parsers)}")
        if last_lines < 1:
            raise ValueError(f"last_lines={last_lines}: at least 1")
        if "{reference}" not in template or "{response}" not in template:
            raise ValueError("the judge's template needs {reference} and {response}")
        self.backend, self.parse, self.last_lines, self.template = backend, parsers[parser], last_lines, template
        self.separator = separator
        identity = json.dumps([backend.name, template, last_lines, MAX_CHARS, separator])
        self.version = f"judge-{VERSION}-{parser}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        self.unparsable = 0

    def __enter__(self) -> JudgeVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the backend."""
        self.backend.close()

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """Raises GoldError for an empty reference (prose is fine, it is what a judge is for), ValueError for an unknown task."""
        check_task(task)
        if not gold.strip():
            raise GoldError((f"question {question_id}: " if question_id else "") + "the reference answer is empty")

    def verify(self, gold: str, output: str, *, task: str = "math", kind: str = "full", truncated: bool = False) -> JudgeVerdict:
        """Verdict on one output. Raises GoldError, ValueError as ``Verifier.verify``, and JudgeError where the judge cannot be asked."""
        return self.verify_batch([gold], [output], task=task, kind=kind, truncated=[truncated])[0]

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        *,
        task: str | Sequence[str] = "math",
        kind: str = "full",
        truncated: Sequence[bool] | None = None,
    ) -> list[JudgeVerdict]:
        """One verdict an output, in order; equal prompts are asked once. Raises as ``verify``, and ValueError where the lengths differ."""
        tasks = [task] * len(golds) if isinstance(task, str) else list(task)
        cut = [False] * len(golds) if truncated is None else list(truncated)
        if not len(golds) == len(outputs) == len(tasks) == len(cut):
            raise ValueError(f"{len(golds)} golds, {len(outputs)} outputs, {len(tasks)} tasks, {len(cut)} truncated: one of each a sample")
        check_kind(kind)
        start = time.perf_counter()
        prompts: list[str | None] = []
        for gold, output, name, short in zip(golds, outputs, tasks, cut, strict=True):
            self.check_gold(gold, task=name)
            ask = output.strip() and not short
            shown = {"last_lines": self.last_lines, "template": self.template, "separator": self.separator}
            prompts.append(judge_prompt(gold, output, **shown) if ask else None)
        questions = list(dict.fromkeys(prompt for prompt in prompts if prompt is not None))
        texts = dict(zip(questions, self.backend.complete(questions), strict=True)) if questions else {}
        seconds = (time.perf_counter() - start) / max(1, len(prompts))
        verdicts = []
        for prompt, output, short in zip(prompts, outputs, cut, strict=True):
            if prompt is None:
                reason = "truncated" if short else "empty output"
                verdicts.append(JudgeVerdict(False, None, "no answer", reason, seconds, self.version))
            else:
                verdicts.append(self._read(texts[prompt], output, seconds))
        return verdicts

    def _read(self, text: str, output: str, seconds: float) -> JudgeVerdict:
        label = self.parse(text)
        if label is None:
            self.unparsable += 1
        # A judge says whether, not what: the extracted answer is the last line it was shown.
        answered = label is not None and label.lower() != "not_found"
        shown = output.rstrip().rsplit("\n", 1)[-1][-2_000:] if answered else None
        reason = "" if label == "correct" else "unparsable judgement" if label is None else f"judged {label}"
        rule = "no answer" if label is not None and not answered else "judge"
        return JudgeVerdict(label == "correct", shown, rule, reason, seconds, self.version, text)


class TransformersBackend:
    """A model in this process, greedy.

    Args:
        model: any ``AutoModelForCausalLM``. tokenizer: its own; the chat template is used if there is one.
        batch_size: prompts generated together. max_new_tokens: of a judgement; the paper's 1024.
        name: of the model, for the version; the path it was loaded from by default.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 16, max_new_tokens: int = 1024, name: str | None = None) -> None:
        self.model, self.tokenizer, self.batch_size, self.max_new_tokens = model, tokenizer, batch_size, max_new_tokens
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__

    @classmethod
    def load(cls, path: str, batch_size: int = 16, max_new_tokens: int = 1024) -> TransformersBackend:
        """From a checkpoint folder. Raises ``repro.config.ConfigError`` where it cannot be loaded."""
        from repro.models.load import load_model, load_tokenizer

        return cls(load_model(path), load_tokenizer(path), batch_size, max_new_tokens, path)

    def complete(self, prompts: Sequence[str]) -> list[str]:
        """One text a prompt. Raises ValueError for a prompt that does not fit the model's context."""
        from repro.models.generate import generate
        from repro.models.load import encode_chat

        tokenizer = self.tokenizer
        ids = [encode_chat(tokenizer, p) if tokenizer.chat_template else tokenizer(p)["input_ids"] for p in prompts]
        room = getattr(self.model.config, "max_position_embeddings", None)
        longest = max(map(len, ids), default=0) + self.max_new_tokens
        if room and longest > room:
            raise ValueError(f"judge {self.name}: prompt and judgement take {longest} tokens, the context has {room}; lower last_lines")
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        ends = SimpleNamespace(eos_token_id=tokenizer.eos_token_id, pad_token_id=pad)  # of a tokenizer without PAD
        out = generate(
            self.model, ends, ids, max_tokens=self.max_new_tokens, temperature=0, top_p=1, keys=[""] * len(ids), batch_size=self.batch_size
        )
        return tokenizer.batch_decode(out, skip_special_tokens=True)

    def close(self) -> None:
        """Nothing to close: the model is the caller's."""


class EndpointBackend:
    """A chat endpoint (``repro.client``), greedy.

    Args:
        url, model, api_key_env, timeout, retries, concurrency, backoff: as of ``ChatClient``. max_tokens: of a judgement.

    Raises ValueError for a parameter out of range or a key that is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key_env: str | None = None,
        timeout: float = 120.0,
        retries: int = 4,
        concurrency: int = 16,
        max_tokens: int = 1024,
        backoff: float = 0.5,
    ) -> None:
        settings = {"timeout": timeout, "retries": retries, "concurrency": concurrency, "backoff": backoff}
        self.client = ChatClient(url, model, api_key_env, **settings, role="judge", error=JudgeError)
        self.name, self.max_tokens = model, max_tokens

    def complete(self, prompts: Sequence[str]) -> list[str]:
        """One text a prompt, in order. Raises JudgeError as soon as one prompt has no answer after its retries."""
        settings = {"temperature": 0, "top_p": 1, "max_tokens": self.max_tokens}
        bodies = ({"messages": [{"role": "user", "content": prompt}], **settings} for prompt in prompts)
        texts = {index: reply.text for index, reply in self.client.ask(bodies)}
        return [texts[index] for index in range(len(prompts))]

    def close(self) -> None:
        """Nothing stays open between calls."""
