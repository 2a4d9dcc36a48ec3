"""Numbers that are written in words or otherwise than in digits: ``twenty-one``, ``two thirds``, ``3 million``, ``0.1\\overline{6}``.

Text in, text out, for the normal form (``repro/verifiers/normalise.py``).

    >>> from repro.verifiers.numerals import in_digits, repeating
    >>> in_digits("one hundred and five"), in_digits("three-quarters"), in_digits("east")
    ('105', '3/4', None)
    >>> repeating("0.1666...")
    '\\\\frac{15}{90}'
"""

from __future__ import annotations

import re

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: n for n, word in enumerate(_SMALL.split())} | {word: 10 * n for n, word in enumerate(_TENS.split(), 2)}
_LARGE = {"thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
}
_COUNTS = {"hundred": 100, **_LARGE, "dozen": 12}
_MULTIPLIER = re.compile(rf"(?<=\d)[\s\x02]*({'|'.join(_COUNTS)})s?\b\s*\x03?", re.I)
_REPEATING = re.compile(r"(?<![\d.])(\d{0,12})\.(\d{0,12})\s*\\(?:overline|bar)\s*\{?(\d{1,12}(?=\}|$)|\d)\}?")
# The digits that come again at least three times, or twice where they are two or more.
_AND_SO_ON = re.compile(r"(?<![\d.])(\d{0,12})\.(\d{0,12}?)(?:(\d)\3{2,30}|(\d{2,12}?)\4{1,10})\s*(?:\.\.\.|\\[lc]?dots(?![a-z]))")


def in_digits(text: str) -> str | None:
    """A whole number or a simple fraction that is written out in words, in digits; None for any other text."""
    words = re.split(r"[\s-]+", text.strip().lower())
    if not 1 <= len(words) <= 12:
        return None
    part = words[-1].removesuffix("s") if words[-1] != "halves" else "halves"
    if len(words) > 1 and part in _PARTS:
        top = _whole([word for word in words[:-1] if word != "a"] or ["one"])
        return None if top is None else f"{top}/{_PARTS[part]}"
    whole = _whole(words)
    return None if whole is None else str(whole)


def _whole(words: list[str]) -> int | None:
    total, group = 0, None
    for at, word in enumerate(words):
        if word in _VALUES:
            before = words[at - 1] if at else ""
            if group is not None and not (before in ("hundred", "and") or (before in _TENS.split() and 0 < _VALUES[word] < 10)):
                return None  # "one two" is no number
            group = (group or 0) + _VALUES[word]
        elif word == "hundred" and group is not None and 0 < group < 100:
            group *= 100
        elif word in _LARGE and group:
            total, group = total + group * _LARGE[word], None
        elif not (word == "and" and 0 < at < len(words) - 1 and words[at - 1] in ("hundred", *_LARGE)):
            return None
    return total + (group or 0) if group is not None or total else None


def multiplied(text: str) -> str:
    """``3 million`` as a product."""
    return _MULTIPLIER.sub(lambda m: f"*{_COUNTS[m.group(1).lower()]} ", text)


def repeating(text: str) -> str:
    """``0.1\\overline{6}``, ``0.333...`` as fractions."""
    if "\\overline" in text or "\\bar" in text:
        text = _REPEATING.sub(lambda m: _fraction(*m.groups()), text)
    if "dots" in text or "..." in text:
        text = _AND_SO_ON.sub(lambda m: _fraction(m.group(1), m.group(2), m.group(3) or m.group(4)), text)
    return text


def _fraction(whole: str, fixed: str, period: str) -> str:
    digits, scale = int(whole + fixed + period) - int("0" + whole + fixed), 10 ** len(fixed) * (10 ** len(period) - 1)
    return f"\\frac{{{digits}}}{{{scale}}}"
