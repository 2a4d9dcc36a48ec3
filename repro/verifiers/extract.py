"""Takes the answer out of an output: a step of its own, tested apart from comparison. Linear time whatever the output.

    extract(output) -> Extraction(answer, start, end, rule, committed, parts)

Order: text after the last ``</think>`` (an unclosed one is no answer); cut where a base model invents the next problem; the last balanced
``\\boxed{}``; a later or only "final answer is ..."; ``#### x``; ``Answer: x`` and "the answer is x"; a response that is nothing but an
answer. A last number is taken only with ``fallback=True``, which evaluation may ask for and report; never for reward.

    >>> from repro.verifiers.extract import extract
    >>> extract("So $x = \\\\boxed{7}$. wait, \\\\boxed{8}.").answer
    '8'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from repro.verifiers.boxes import MAX_OUTPUT, boxed, joined, visible

MAX_ANSWER = 2_000
_FINAL = re.compile(
    r"final answer(?:\s{1,9}is|\s{0,9}:|\*\*\s{0,9}:)\s{0,9}(?:\*\*)?(?:\s{0,9}the\s{1,9}(?:final\s{1,9})?answer\s{1,9}is\b)?\s{0,9}:?",
    re.I,
)
_HOPE = re.compile(r"\s{0,9}\.?\s{0,9}I hope (?:it|this) is correct.*", re.I | re.S)
_ANSWER_IS = re.compile(
    r"\banswer(?:\s{1,9}(?:to|for|of)\s[^.\n:]{0,80})?\s{0,9}(?:is|=|:|\*\*:|would be|must be)"
    r"(?:\s{1,9}(?:therefore|thus|then|just|simply|simplified to))?\s{0,9}:?",
    re.I,
)
_HASHES = re.compile(r"####[ \t]{0,9}([^\n]+)")
_A_LINE = re.compile(r"(?:^|\n)[ \t]{0,9}A:[ \t]{0,9}([^\n]+)")
_TAG = "<answer>", "</answer>"
_BARE = re.compile(r"[^\n]{1,120}")
_FORMULA = re.compile(r"(?<!\\)\$\$?((?:\\.|[^$\\]){1,500})\$\$?|\\\(([^\n]{1,500}?)\\\)|\\\[(.{1,500}?)\\\]", re.S)
_NOT_WORDS = re.compile(r"\\(?:begin|end)\s{0,9}\{[a-z*]{1,20}\}(?:\{[lcr| ]{1,20}\})?|\\[a-zA-Z]+")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:\s{0,9}/\s{0,9}\d+)?%?|-?\.\d+")
_LETTER_IS = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Cc]hoice|[Oo]ption)\b(?:[^.\n:]{0,40}?\b(?:is|are|be))?"
    r"[ \t]{0,9}(?:definitely|likely|probably|therefore|clearly|thus)?[ \t]{0,9}[:=]?[ \t\n]{0,9}"
    r"(?:\*\*|\$|\"|'|“|\\text\{|\\boxed\{|option |choice ){0,4}(?:\(([A-Za-z])\)|([A-Z])(?![A-Za-z0-9'’]))"
)
_MORE_LETTERS = re.compile(r"[)\]\"'*]*\s{0,9}(?:,\s{0,9}(?:or|and)?|or|and|/|&)\s{0,9}\(?[A-J]\)?(?![A-Za-z'’])")


@dataclass(frozen=True)
class Extraction:
    """What was found.

    answer: text of the answer, None if there is none. start, end: its span in the output. rule: how it was found (``box``, ``final
    answer``, ``hashes``, ``answer is``, ``bare``, ``tag``, ``letter``, ``last number``) or why not. committed: False for a guess of the
    fallback. parts: answers of several boxes joined in one sentence, the last included; used only for references that list as many.
    """

    answer: str | None
    start: int
    end: int
    rule: str
    committed: bool
    parts: tuple[str, ...] = ()


def _none(rule: str) -> Extraction:
    return Extraction(None, -1, -1, rule, False)


def extract(output: str, *, task: str = "math", kind: str = "full", fallback: bool = False) -> Extraction:
    """The committed answer of an output.

    Args:
        output: a whole response (``kind="full"``) or an answer with or without dressing (``kind="answer"``).
        task: ``letter`` looks for an option letter, any other for mathematics.
        kind: ``answer`` also accepts what has no anchor at all, as the text is the answer itself.
        fallback: take the last number where nothing was committed (``committed`` is then False).
    """
    seen = visible(output)
    if seen is None:
        return _none("unclosed thinking")
    text, offset = seen
    found = _letter(text, kind) if task == "letter" else _mathematics(text, kind)
    if found.answer is None and fallback and task != "letter":
        found = _last_number(text)
    if found.answer is None:
        return found
    return Extraction(found.answer, found.start + offset, found.end + offset, found.rule, found.committed, found.parts)


def _at(text: str, start: int, end: int, rule: str, parts: tuple[str, ...] = ()) -> Extraction:
    answer = text[start:end].strip()
    start = text.find(answer, start)
    return Extraction(answer, start, start + len(answer), rule, True, parts)


def _inside(text: str, box: tuple[int, int, str]) -> tuple[int, int]:
    """Span of a box's content: before its closing brace, or to the end of ``\\boxed 5``."""
    end = box[1] - (text[box[1] - 1] == "}")
    return end - len(box[2]), end


def _mathematics(text: str, kind: str) -> Extraction:
    found = boxed(text)
    box = found[-1] if found else None
    after = box[1] if box else 0
    final = _statement(text, _FINAL, after)
    if final:
        return final
    if box:
        if not box[2].strip():
            return _none("empty box")
        return _at(text, *_inside(text, box), "box", joined(text, found))
    lower = text.lower() if _TAG[1] in text[-MAX_OUTPUT:].lower() else ""
    closed = lower.rfind(_TAG[1])
    opened = lower.rfind(_TAG[0], max(0, closed - MAX_ANSWER), max(0, closed))
    if opened >= 0:
        return _at(text, opened + len(_TAG[0]), closed, "tag")
    for pattern, rule in ((_HASHES, "hashes"), (_A_LINE, "answer line")):
        matches = list(pattern.finditer(text))
        if matches:
            return _at(text, *matches[-1].span(1), rule)
    stated = _statement(text, _ANSWER_IS, 0)
    if stated:
        return stated
    if kind == "answer":
        return _bare_answer(text)
    stripped = text.strip()
    if (
        "boxed" not in stripped
        and _BARE.fullmatch(stripped)
        and not re.search(r"[a-z]{2,}\s{1,9}[a-z]{2,}\s", stripped)
        and re.search(r"[\w]", stripped)
    ):
        start = text.find(stripped)
        return _at(text, start, start + len(stripped), "bare")
    return _none("box" if "boxed" in text else "no answer")


def _statement(text: str, pattern: re.Pattern, after: int) -> Extraction | None:
    """Answer stated in words after ``after``: the last match of the pattern, up to the end of its sentence."""
    last = None
    for last in pattern.finditer(text, after):  # noqa: B007
        pass
    if last is None:
        return None
    start = last.end()
    line = text[start : start + MAX_ANSWER].lstrip(" \t}")  # the brace of \text{The answer is }
    start += len(text[start : start + MAX_ANSWER]) - len(line)
    if line.startswith("\n"):
        stripped = line.lstrip("\n \t")
        start, line = start + len(line) - len(stripped), stripped
    line = _HOPE.sub("", line, count=1)
    length = _sentence(line)
    answer = line[:length].strip().rstrip(".").strip("* ")
    if not answer:
        return None
    rule = "final answer" if pattern is _FINAL else "answer is"
    if not answer.startswith(("$", "\\", "-", "(", "[", ".")) and not answer[0].isdigit():
        formula = _subject(answer)
        if formula is not None:
            answer = formula
    at = text.find(answer, start)
    return Extraction(answer, at, at + len(answer), rule, True)


def _subject(sentence: str) -> str | None:
    """Value of "The maximum number of points is 19": the only formula or number after the last "is"."""
    at = max(sentence.rfind(" is "), sentence.rfind(" are "), sentence.rfind(" = "), sentence.rfind(" equals "))
    if at < 0:
        return None
    tail = sentence[at:].split(None, 1)[1] if len(sentence[at:].split(None, 1)) > 1 else ""
    return tail or None


def _sentence(line: str) -> int:
    """Length of the answer at the start of a line: to the end of a formula that opens it, else to the end of the sentence."""
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if line.startswith(left) and not line.startswith("$\\$"):
            end = line.find(right, len(left))
            if end > 0:
                rest = line[end + len(right) :]
                joined = re.match(r"(?:\s{0,9}(?:,|and|or|,\s{0,9}and)\s{0,9}\$[^$\n]+\$)+", rest)
                return end + len(right) + (joined.end() if joined else 0)
    match = re.search(r"\n|[.!?](?=\s|$)|<\|", line)
    return match.start() if match else len(line)


def _bare_answer(text: str) -> Extraction:
    """For outputs declared to be an answer: all of it if short and not prose, else its last formula, else its last number."""
    stripped = text.strip()
    if not stripped:
        return _none("empty")
    prose = len(re.findall(r"(?<!\w)[^\W\d_]{2,}(?!\w)", _NOT_WORDS.sub(" ", stripped))) >= 3
    formulas = [m for m in _FORMULA.finditer(text)]
    if formulas and (prose or len(formulas) == 1):
        index = formulas[-1].lastindex or 1
        return _at(text, *formulas[-1].span(index), "formula")
    if (not prose and len(stripped) <= MAX_ANSWER) or not re.search(r"\d", stripped):
        start = text.find(stripped)
        return _at(text, start, start + len(stripped), "bare")
    return _last_number(text, committed=True)


def _last_number(text: str, *, committed: bool = False) -> Extraction:
    last = None
    for last in _NUMBER.finditer(text[-4_000:]):  # noqa: B007
        pass
    if last is None:
        return _none("no number")
    base = max(0, len(text) - 4_000)
    answer = last.group().rstrip(",")
    return Extraction(answer, base + last.start(), base + last.start() + len(answer), "last number", committed)


def _letter(text: str, kind: str) -> Extraction:
    """Last option letter committed to: a box, "answer is (X)", "Answer: X", or a response that is only a letter."""
    found = boxed(text)
    if found:
        return _at(text, *_inside(text, found[-1]), "box") if found[-1][2].strip() else _none("empty box")
    best = None
    for match in _LETTER_IS.finditer(text):
        best = match
    if best:
        group = 1 if best.group(1) else 2
        if _MORE_LETTERS.match(text, best.end(group)):
            return _none("several letters")
        return Extraction(best.group(group), *best.span(group), "letter", True)
    stripped = text.strip()
    match = re.match(r"(?:\*\*|\")?(?:\(([A-Za-z])\)|([A-Za-z])(?=$|[).:]))(?![A-Za-z])", stripped)
    if (
        match
        and (len(stripped) <= 3 or match.end() == len(stripped) or stripped[match.end() : match.end() + 1] in ".):")
        and not _MORE_LETTERS.match(stripped, match.end())
    ):
        start = text.find(stripped)
        return _at(text, start, start + match.end(), "bare")
    if kind == "answer" and stripped:  # declared to be the answer: whether it commits to a letter is for the comparison
        return _at(text, 0, len(text), "bare")
    return _none("no letter")
