"""The string matcher that rewarded the paper's section 4 runs, as an arm of its own: same verdicts, own implementation.

    >>> from repro.verifiers.legacy import LegacyVerifier
    >>> LegacyVerifier().verify("1/4", "so \\\\boxed{0.25}").correct
    False

It exists to measure what the grader changes, not to be used for results. Unlike ``Verifier`` it has no type rules: five guesses at the answer
are normalised as strings, and an output is right if **any** of them equals the reference. Source: ``score_hendrycks`` in ``reward/common.py``
of the paper's code; divergences D-3 and D-4. With ``legacy_prompt=True`` it also reads the prompt, as that code does: it decodes prompt and
response together. What it gets wrong is on purpose and listed as Q1 to Q14 beside the lines that do it; the tests show each one. Two details
of the original do nothing and are left out: an "answer is" clean-up (it opens every box and then looks for one) and a score over all formulas
(computed, never returned).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from repro.verifiers.verdict import GoldError, Verdict, check_kind, check_task

VERSION = "1.0"
_BOX = "\\boxed{"
# In this order. Q1: ``\left`` and ``\right`` go wherever they stand, so ``\rightarrow`` is ``arrow``; degrees, dollars and thin spaces vanish.
_DROPPED = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)


class _Unnormalisable(ValueError):
    """The original runs into an exception here; it then compares the raw strings."""


def equal(candidate: str, gold: str) -> bool:
    """String equality after ``normal``. Q2: where either side cannot be normalised, both stay raw, spaces and all."""
    try:
        return normal(candidate) == normal(gold)
    except _Unnormalisable:
        return candidate == gold


def normal(text: str) -> str:
    """The matcher's normal form of an answer. Raises ValueError where the original fails."""
    for old, new in _DROPPED:
        text = text.replace(old, new)
    unit = text.count("\\text{ ")
    if unit > 1:  # Q3: two ``\text{ `` are one too many
        raise _Unnormalisable
    if unit:  # Q3: everything from the first ``\text{ `` on counts as a unit: "12\text{ km}" equals "12\text{ m}"
        text = text[: text.index("\\text{ ")]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")  # Q4: 50\% equals 50
    # Q5: a comma goes only where nothing but digits stands, no blank, no sign; then even that of the list 1,2, which becomes 12.
    if text.replace(",", "").isdigit():
        text = text.replace(",", "")
    if len(text) >= 2 and text[0] == "(" and text[-1] == ")":  # Q6: (0,x) equals 0,x; and (a)(b) becomes a)(b
        text = text[1:-1]
    if not text:
        return text
    if text[0] == ".":
        text = "0" + text
    left, equals, right = text.partition("=")
    if equals and "=" not in right and len(left) <= 2:  # Q7: "x=5" is 5, and so is "6=5"
        text = right
    text = _sqrt(text).replace(" ", "")  # Q8: spaces go after the root is braced, so "\sqrt 3" is \sqrt{}3 and never \sqrt{3}
    text = _frac(text)
    if text == "0.5":  # Q9: the only decimal it knows as a fraction; 0.25 is not 1/4
        text = "\\frac{1}{2}"
    return _slash(text)


def _sqrt(text: str) -> str:
    head, *roots = text.split("\\sqrt")
    for root in roots:
        if not root:
            raise _Unnormalisable
        head += "\\sqrt" + (root if root[0] == "{" else "{" + root[0] + "}" + root[1:])
    return head


def _frac(text: str) -> str:
    """Braces for ``\\frac12``. Q10: a numerator in braces with a bare denominator, ``\\frac{72}1``, stays as it is."""
    head, *fractions = text.split("\\frac")
    for fraction in fractions:
        if not fraction:
            raise _Unnormalisable
        if fraction[0] == "{":
            head += "\\frac" + fraction
        elif len(fraction) < 2:
            return text
        else:
            below = fraction[1] if fraction[1] == "{" else "{" + fraction[1] + "}"
            head += "\\frac{" + fraction[0] + "}" + below + fraction[2:]
    return head


def _slash(text: str) -> str:
    """``a/b`` as ``\\frac{a}{b}`` for whole numbers. Q11: with anything else on a side, ``x/2``, the original's int() raises (see Q2)."""
    if text.count("/") != 1:
        return text
    above, below = text.split("/")
    try:
        above, below = str(int(above)), str(int(below))
    except ValueError as error:
        raise _Unnormalisable from error
    return "\\frac{" + above + "}{" + below + "}" if text == f"{above}/{below}" else text


def last_box(text: str) -> str | None:
    """What is in the last ``\\boxed{}`` if it closes; an ``\\fbox{}``, or a box with a blank before its brace, is returned whole."""
    start = text.rfind("\\boxed")
    if start < 0:
        start = text.rfind("\\fbox")
    if start < 0:
        return None
    depth = 0
    for end in range(start, len(text)):
        if text[end] == "{":
            depth += 1
        elif text[end] == "}":
            depth -= 1
            if depth == 0:
                whole = text[start : end + 1]
                return whole[len(_BOX) : -1] if whole.startswith(_BOX) else whole
    return None


def first_box(text: str) -> str:
    """From the first ``\\boxed{`` to the last brace of the same line. Q12: so a first box wins over a later one, and two on a line spoil both."""
    for line in text.split("\n"):
        start = line.find(_BOX)
        end = line.rfind("}")
        if start >= 0 and end > start + len(_BOX):
            return line[start + len(_BOX) : end]
    return ""


def last_formula(text: str) -> str:
    """Text between the last two formula signs (``$`` or ``\\]``), or all of it if there are fewer; of that, what follows the last ``=``.

    Q13: without a box, the last equation of the text is the answer, wherever it stands; and it outvotes a wrong box. Text *between* two
    formulas counts as a formula, and ``\\[`` does not open one.
    """
    signs = [i for i, c in enumerate(text) if (c == "$" and text[i - 1 : i] != "\\") or (c == "\\" and text[i + 1 : i + 2] == "]")]
    if len(signs) > 1:
        text = text[signs[-2] + 1 : signs[-1]]
    return text[text.rfind("=") + 1 :]


def after_phrase(text: str) -> str:
    """All that follows the **first** "the answer is:" up to the end of the text, less a full stop and the formula signs around it."""
    start = text.lower().find("the answer is:")
    found = text[start + len("the answer is:") :].strip() if start >= 0 else ""
    if not found:
        return "ANSWER_NOT_FOUND"  # the original's own word for it, compared with the reference like an answer
    found = found.removesuffix(".")
    for sign, end in (("\\(", "\\)"), ("$$", "$$")):
        if found[:2] == sign and found[-2:] == end:
            found = found[2:-2]
    return found.removeprefix("$").removesuffix("$").strip() or "ANSWER_NOT_FOUND"


def candidates(text: str) -> Iterator[tuple[str, str]]:
    """(name of the guess, answer) in the original's order. Q14: any of them may be right."""
    formula = last_formula(text)
    yield "last formula", formula
    box = last_box(formula)
    if box is not None:
        yield "last box", box
    yield "first box", first_box(text)
    yield "answer is:", after_phrase(text)


class LegacyVerifier:
    """The paper code's matcher with the calls of ``Verifier``.

    Args:
        legacy_prompt: read prompt + response as the paper's code does (D-4): a reference that is the last equation of the *prompt* then scores
            without any answer. ``verify`` and ``verify_batch`` want the prompt for it.

    ``task``, ``kind`` and ``truncated`` are checked and otherwise ignored: the original knows no types, and leaves length to the reward.
    """

    def __init__(self, legacy_prompt: bool = False) -> None:
        self.legacy_prompt = legacy_prompt
        self.version = f"legacy-{VERSION}" + ("-prompt" if legacy_prompt else "")

    def __enter__(self) -> LegacyVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to close."""

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """Raises GoldError for a reference that normalises to nothing: an output without a box would equal it. ValueError: unknown task."""
        check_task(task)
        if not gold.strip() or not reference(gold).strip() or equal("", reference(gold)):
            raise GoldError((f"question {question_id}: " if question_id else "") + f"reference {gold!r} is empty to the legacy matcher")

    def verify(
        self, gold: str, output: str, *, task: str = "math", kind: str = "full", truncated: bool = False, prompt: str = ""
    ) -> Verdict:
        """Verdict on one output; ``prompt`` is read with ``legacy_prompt=True`` only. Raises GoldError and ValueError as ``Verifier.verify``."""
        return self.verify_batch([gold], [output], task=task, kind=kind, truncated=[truncated], prompts=[prompt])[0]

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        *,
        task: str | Sequence[str] = "math",
        kind: str = "full",
        truncated: Sequence[bool] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> list[Verdict]:
        """One verdict an output, in order.

        Raises GoldError for an empty reference, ValueError for lengths that differ, and for ``legacy_prompt=True`` without ``prompts``.
        """
        tasks = [task] * len(golds) if isinstance(task, str) else list(task)
        if prompts is None:
            if self.legacy_prompt:
                raise ValueError("legacy_prompt=True reads the prompts, and no prompts were given")
            prompts = [""] * len(golds)
        if not len(golds) == len(outputs) == len(tasks) == len(prompts) or (truncated is not None and len(truncated) != len(golds)):
            sizes = f"{len(golds)} golds, {len(outputs)} outputs, {len(tasks)} tasks, {len(prompts)} prompts"
            raise ValueError(f"{sizes}: one of each a sample")
        check_kind(kind)
        verdicts = []
        for gold, output, name, prompt in zip(golds, outputs, tasks, prompts, strict=True):
            start = time.perf_counter()
            self.check_gold(gold, task=name)
            verdicts.append(self._decide(reference(gold), prompt + output if self.legacy_prompt else output, start))
        return verdicts

    def _decide(self, gold: str, text: str, start: float) -> Verdict:
        guesses = list(candidates(text))
        for name, guess in guesses:
            if equal(guess, gold):
                return Verdict(True, guess, f"legacy {name}", "", time.perf_counter() - start, self.version)
        boxes = [guess for name, guess in guesses if name.endswith("box") and guess]
        extracted = boxes[0] if boxes else None
        reason = "no guess equals the reference" if boxes else "no box, and no guess equals the reference"
        return Verdict(False, extracted, "legacy", reason, time.perf_counter() - start, self.version)


def reference(gold: str) -> str:
    """The last box of a reference that has one, else the reference as it is."""
    boxed = last_box(gold)
    return gold if boxed is None else boxed
