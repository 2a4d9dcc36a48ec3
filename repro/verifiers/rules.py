"""Tiered comparison of a reference with an extracted answer: string, number, letter or text, structure and value, and only then symbolic.

The reference decides the type. Everything here is bounded and runs in the calling process; what would need computer algebra comes back
as ``None`` and is for the worker pool (``repro/verifiers/pool.py``).

    >>> from repro.verifiers.rules import decide
    >>> decide("\\\\frac{1}{2}", "0.5", "math")
    Decision(correct=True, rule='number', reason='')
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from repro.verifiers.compare import same, within
from repro.verifiers.exact import NotExact
from repro.verifiers.normalise import MAX_ANSWER, squeeze, words
from repro.verifiers.parser import parse
from repro.verifiers.shapes import is_name
from repro.verifiers.texts import EMPTY, NOTHING, TRUTH, clean, is_option, is_text, letter_of, opened, same_text
from repro.verifiers.tokens import Node, TooBig, Unparsed
from repro.verifiers.units import clock, counted, number, unit
from repro.verifiers.verdict import GoldError

MAX_SYMBOLIC = 300  # characters of either side that a worker is asked about


class Decision(NamedTuple):
    """``correct``, the tier that decided, and why not."""

    correct: bool
    rule: str
    reason: str


_INTEGER = re.compile(r"[+-]?\d{1,300}")
_OPTION = re.compile(r"\(?\s*([A-Za-z])\s*\)?")
_HEDGE = re.compile(r"^(?:(?:is|equals?|about|around|roughly|nearly|approximately|approx\.?|exactly|\\approx|\\sim)\s+)+", re.I)
_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d{2}")
_SUBSCRIPT = re.compile(r"_\s*\{[^{}]*\}")
_HEAVY = re.compile(r"\d{5,}|\^\s*\{[^{}]*\^|\^\s*\w\s*\^|!|\^\s*\{[^{}]*\{")  # large numbers, powers in exponents, factorials
_SYMBOLIC = re.compile(r"\\(?:int|iint|oint|sum|prod|lim)(?![a-zA-Z])|\\begin\{cases\}")  # all that a worker knows better


def check(gold: str, task: str, question_id: str | None) -> None:
    """Raises GoldError naming the question for a reference that nothing can be compared with."""
    which = f"question {question_id}" if question_id is not None else "this question"
    if not isinstance(gold, str):
        raise GoldError(f"{which}: the reference answer must be text, got {gold!r}; convert it when loading the data")
    problem = _gold_problem(gold, task)
    if problem:
        raise GoldError(f"{which}: the reference answer {gold[:80]!r} {problem}; drop the question or mend its reference")


@lru_cache(maxsize=8192)
def _gold_problem(gold: str, task: str) -> str:
    text = clean(gold)
    if not text or not re.search(r"[^\W_]|\\emptyset|\\infty|\\\{\s*\\\}|[^\x00-\x7f]", text):
        return "is empty"
    if len(text) > MAX_ANSWER:
        return f"is longer than {MAX_ANSWER} characters"
    if task == "letter" and letter_of(gold) is None:
        return "is not an option letter"
    if task == "numeric":
        try:
            node = parse(text)
        except (Unparsed, TooBig):
            return (
                "" if text.lower() in TRUTH or _OPTION.fullmatch(text) else "is not a number, a list of numbers, a truth value or an option"
            )
        return "" if node else "is empty"
    if _unbalanced(text):
        return "has brackets that do not close"
    return "ends with an operator" if text[-1] in "+*/^=<(-" else ""


def _unbalanced(text: str) -> bool:
    level = 0
    for token in re.findall(r"\\\\|\\[{}]|[{}]", text):
        level += {"{": 1, "}": -1}.get(token, 0)
        if level < 0:
            return True
    return level != 0


def decide(gold: str, answer: str, task: str = "math", *, tolerance: float = 0.01) -> Decision | None:
    """Compare; None where only the symbolic tier could tell.

    Args:
        gold: reference answer, checked with ``check`` before.
        answer: extracted answer.
        task: ``math``, ``letter``, ``numeric`` or ``text``.
        tolerance: relative, for ``numeric`` references written as decimals; whole numbers and ``math`` are exact.
    """
    if task == "letter":
        got = letter_of(answer)
        return Decision(got is not None and got == letter_of(gold), "letter", "" if got == letter_of(gold) else "different")
    if len(answer) > MAX_ANSWER:
        return Decision(False, "size", "answer too long")
    if task == "text":
        return _verdict(words(gold) == words(answer), "text")
    want, got = clean(gold), clean(answer)
    if not got:
        return Decision(False, "no answer", "empty")
    if task == "numeric":
        return _numeric(want, got, tolerance)
    measured = _clock(gold, answer) or _units(gold, answer)
    if measured is not None:
        return measured
    if squeeze(want) == squeeze(got) or squeeze(want).rstrip("%") == squeeze(got).rstrip("%"):
        return Decision(True, "string", "") if _is_defined(want) else Decision(False, "value", "undefined")
    if "\\" in gold + answer and len(want) > 3 and opened(gold) == opened(answer) and _is_defined(want):
        return Decision(True, "string", "")
    if _INTEGER.fullmatch(want) and _INTEGER.fullmatch(got):
        return _verdict(int(want) == int(got), "number")
    if is_text(gold) or (want in EMPTY and words(answer) in NOTHING):
        return _verdict(same_text(gold, answer), "text")
    if len(want) > 2 and want.isalpha() and got in (want.capitalize(), want[0].lower() + want[1:]):
        return Decision(True, "text", "")  # red, Red.: the capital of a sentence
    if is_option(gold):
        letter = letter_of(answer)
        if letter is not None:
            return _verdict(letter == letter_of(gold), "letter")
    left, right = number(want), number(got)
    if (left is None) != (right is None):
        left, right = counted(want), counted(got)
    if left is not None and right is not None:
        return _verdict(left == right, "number")
    if _comma_decimal(want, got):
        return Decision(True, "number", "")
    return _structure(want, got)


def _clock(gold: str, answer: str) -> Decision | None:
    """Times of day, where a side says a.m. or p.m.; on the other it may be missing (a unit), but not differ. None for other answers."""
    want, got = clock(gold), clock(answer)
    if want is None or got is None or not (want[2] or got[2]):
        return None
    if want[2] and got[2]:
        return _verdict(want == got, "time")
    return _verdict(want[0] % 12 == got[0] % 12 and want[1] == got[1], "time")


def _units(gold: str, answer: str) -> Decision | None:
    """Two different units are different answers; None where a side has none that is known."""
    want, got = unit(gold), unit(answer)
    return Decision(False, "unit", f"{got} for {want}") if want and got and want != got else None


def _verdict(correct: bool, rule: str) -> Decision:
    return Decision(correct, rule, "" if correct else "different")


def _is_defined(text: str) -> bool:
    try:
        return same(parse(text), parse(text))
    except (Unparsed, TooBig, NotExact):
        return True


def _comma_decimal(want: str, got: str) -> bool:
    """``2,74`` beside 2.74: a decimal, as much of the world writes it. With any other number of digits, 3,5 is a list of two numbers."""
    return any(_COMMA_DECIMAL.fullmatch(one) and one.replace(",", ".") == other for one, other in ((want, got), (got, want)))


def _parsed(text: str) -> Node:
    return parse(text)


def _structure(want: str, got: str) -> Decision | None:
    try:
        gold = _parsed(want)
    except TooBig:
        return Decision(False, "size", "reference too large to compare by value")
    except Unparsed:
        return _unparsed(want, got)
    try:
        answer = _parsed(got)
        rule = (
            "value"
            if gold[0] not in ("seq", "rel", "setop", "mat")
            else {"seq": "list", "rel": "relation", "setop": "set", "mat": "matrix"}[gold[0]]
        )
        return _verdict(same(gold, answer), rule)
    except TooBig as error:
        return Decision(False, "size", f"too large: {error}")
    except NotExact:
        return Decision(False, "value", "not comparable")
    except Unparsed:
        return _unparsed(want, got)
    except (
        ArithmeticError,
        LookupError,
        RecursionError,
        TypeError,
    ) as error:  # no answer may end a training run; tests ask for none of these
        return Decision(False, "failed", type(error).__name__)


def _unparsed(want: str, got: str) -> Decision | None:
    """Ask a worker only about short mathematics that this parser has no rule for, and never about relations or lists."""
    both = want + got
    if len(want) > MAX_SYMBOLIC or len(got) > MAX_SYMBOLIC or not _SYMBOLIC.search(both) or re.search(r"[<>;]|\\(?:text|approx)", both):
        return Decision(False, "string", "different")
    if not all(re.search(r"[\w\\]", side) for side in (want, got)) or _unbalanced(got):
        return Decision(False, "string", "different")
    claims = ["=" in _SUBSCRIPT.sub("", side) for side in (want, got)]  # the = of a sum's index claims nothing
    if claims[0] != claims[1] or _HEAVY.search(both):
        return Decision(False, "size", "not worth computer algebra")
    return None


def _numeric(want: str, got: str, tolerance: float) -> Decision:
    """TheoremQA: whole numbers exactly, decimals within the relative tolerance, lists in order, truth values, option letters."""
    got = _HEDGE.sub("", got)
    if want.lower() in TRUTH:
        return _verdict(TRUTH.get(words(got).split(" ")[0] if got else "") == TRUTH[want.lower()], "text")
    if squeeze(want) == squeeze(got):
        return Decision(True, "string", "")
    if re.fullmatch(r"\([A-Za-z]\)|[A-Za-z]", want):
        return _verdict(letter_of(got) == letter_of(want), "letter")
    left, right = counted(want), counted(got)
    if left is not None and right is not None:
        slack = Fraction(0) if _INTEGER.fullmatch(want) else Fraction(tolerance).limit_denominator(10**9) * abs(left)
        return _verdict(abs(left - right) <= slack, "tolerance" if slack else "number")
    try:
        gold, answer = parse(want), parse(got)
        if _INTEGER.fullmatch(want):
            return _verdict(same(gold, answer), "value")
        return _verdict(within(gold, answer, tolerance), "tolerance")
    except (Unparsed, TooBig, NotExact) as error:
        return Decision(False, "value", f"not a number: {error}")


def arity(gold: str) -> int:
    """How many values a reference lists: 3 for ``1, 2, 3``; 1 for anything that is not a plain list."""
    text = clean(gold)
    if "," not in text and "pm" not in text and ";" not in text and "and" not in text and "or" not in text:
        return 1
    try:
        node = parse(text)
    except (Unparsed, TooBig):
        return 1
    if node[0] == "rel" and is_name(node[2][0]) and len(node[2]) == 2:
        node = node[2][1]
    if node[0] == "pm":
        return 2
    return len(node[3]) if node[0] == "seq" and node[1] in ("", "{") else 1
