"""Values that are measured: numbers with what they count, units of measurement, times of day.

A unit is optional on either side, as the value is what was asked for; a unit on both sides must be the same one. Working on text in
normal form (``repro/verifiers/normalise.py``) or, where that takes units off, on the answer as it was written.

    >>> from repro.verifiers.units import clock, unit
    >>> clock("4:30 \\\\text{ p.m.}"), unit("12 \\\\text{ feet}")
    ((16, 1800, 'p'), 'ft')
"""

from __future__ import annotations

import re
from fractions import Fraction

from repro.verifiers.spelling import latex_spelling, strip_outer

_DECIMAL = re.compile(r"[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})%?")
_FRACTION = re.compile(r"([+-]?)\\frac\{([+-]?\d{1,300})\}\{(\d{1,300})\}|([+-]?)(\d{1,300})/(\d{1,300})")
_COUNTED = re.compile(
    r"([+-]?[\d.]+|[+-]?\d+/\d+|[+-]?\\frac\{\d+\}\{\d+\}) "  # the blank tells 30 m from the product 30m
    r"((?:[a-zA-Z]{3,20}(?: [a-z]{2,20}){0,2}|(?:[cmk]?m|[mk]?g|s|h|[mk]?[LNJWV]|K|Pa|Hz)(?: ?/ ?(?:s|h|min|kg|m))?)(?: ?\^ ?\{?-?\d\}?)?)"
)
# Words after a number that change it, so that "5 or more" is not 5.
_CHANGING = "and or plus minus over squared cubed factorial half more less times pi not mod sqrt sin cos tan log exp"
_NOT_COUNTED = frozenset(_CHANGING.split())
_CLOCK = re.compile(r"(?:at\s+)?(\d{1,2})(?:\s*:\s*(\d{2}))?(?:\s*:\s*(\d{2}))?\s*(?:([ap])\s*\.?\s*m\s*\.?)?", re.I)
_UNIT_NAMES = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "mg": "mg milligram milligrams",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "oz": "oz ounce ounces",
    "lb": "lb lbs pound pounds",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "mi/h": "mph",
    "km/h": "kph kmph",
    "cent": "cent cents",
    "dollar": "dollar dollars",
    "degree": "degree degrees",
    "radian": "rad radian radians",
}
_UNIT_OF = {word: name for name, words in _UNIT_NAMES.items() for word in words.split()}
_UNIT = re.compile(
    r"[\d}][\s\x02]*(?:square |sq\.? |cubic |cu\.? )?([a-z]{1,11})\.?(?:\s*(?:/|\bper\b)\s*([a-z]{1,11}))?[\s\x03]*(?:\^\s*\{?\s*\d\s*\}?)?",
    re.I,
)


def number(text: str) -> Fraction | None:
    """Value of an integer, decimal or simple fraction in normal form, else None. No percent."""
    if _DECIMAL.fullmatch(text) and not text.endswith("%"):
        return Fraction(text.rstrip(".") if text[-1:] == "." else text)
    match = _FRACTION.fullmatch(text.replace(" ", ""))
    if match:
        sign, top, below = match.group(1, 2, 3) if match.group(2) else match.group(4, 5, 6)
        if int(below):
            return Fraction(int(top), int(below)) * (-1 if sign == "-" else 1)
    return None


def counted(text: str) -> Fraction | None:
    """Value of a number that may be followed by what it counts or measures: ``12 apples``, ``30 m^2``; asked only beside a bare number."""
    match = _COUNTED.fullmatch(text)
    if match is None:
        return number(text)
    what = match.group(2).lower().split()
    return None if any(word in _NOT_COUNTED or word.startswith("\\") for word in what) else number(match.group(1))


def unit(answer: str) -> str | None:
    """Short name of the unit at the end of an answer (of its root for a square or cubic one), None for none or an unknown one."""
    if re.match(r"[\s$]*\\\$\s*[\d.]", answer):
        return "dollar"
    if re.search(r"\\circ\s*\}?[\s$]*$", answer):
        return "degree"
    if not re.search(r"[a-zA-Z]", answer[-12:]) or len(answer) > 200:
        return None
    text = latex_spelling(strip_outer(answer)).rstrip()
    match = None
    for match in _UNIT.finditer(text):  # noqa: B007 the last
        pass
    if match is None or match.end() != len(text):
        return None
    word, per = match.groups()
    if len(word) == 1 and "\x02" not in match.group() and " " not in match.group():
        return None  # 30m is a product
    names = [_UNIT_OF.get(w.lower() if len(w) > 1 else w) for w in (word, per) if w]
    return None if None in names else "/".join(names)


def clock(text: str) -> tuple[int, int, str] | None:
    """(hour 0-23, second of it, meridiem) of ``4:30 p.m.``, ``16:30`` or ``\\text{4 PM}``; meridiem "" where none is written or meant.

    None for anything else. A time without a meridiem keeps its hour as it stands.
    """
    if ":" not in text and "m" not in text.lower():
        return None
    plain = latex_spelling(strip_outer(text[:200])).replace("\x02", " ").replace("\x03", " ")
    match = _CLOCK.fullmatch(plain.strip(" .,"))
    if not match:
        return None
    hour, minute, second, half = *(int(match.group(i) or 0) for i in (1, 2, 3)), (match.group(4) or "").lower()
    if max(minute, second) > 59 or hour > 23 or (not half and match.group(2) is None) or (half and not 1 <= hour <= 12):
        return None
    if half:
        return hour % 12 + (12 if half == "p" else 0), 60 * minute + second, half
    return hour, 60 * minute + second, "p" if hour > 12 else ""
