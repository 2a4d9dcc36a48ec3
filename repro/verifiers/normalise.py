"""First tier: one spelling for what only looks different. Text in, text out; idempotent; linear time; knows no mathematics.

Unicode signs become LaTeX, spacing and sizing commands go, wrappers such as ``\\textbf{204}`` open, ``\\dfrac`` becomes ``\\frac``,
digit groups join (``10,\\!080`` is ``10080``), and a unit after a value (``15\\mbox{ cm}^2``, ``30^\\circ``, ``\\$36``) is taken off.

    >>> from repro.verifiers.normalise import normalise
    >>> normalise("$10{,}080\\\\text{ dollars}$")
    '10080'
"""

from __future__ import annotations

import re

from repro.verifiers.numerals import in_digits, multiplied, repeating
from repro.verifiers.spelling import join_group, latex_spelling, strip_outer

MAX_ANSWER = 2_000  # characters; nothing longer is an answer (the longest reference of MATH has under 200)

_DEGREE = re.compile(r"\^\s*\{\s*\\(?:circ|degree)\s*\}|\^\s*\\(?:circ|degree)(?![a-zA-Z])|\\degree(?![a-zA-Z])")
_TEMPERATURE = re.compile(r"(?<=\d)\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\x02\s*[CFK]\s*\x03|[CF]$)")
_LETTER_UNIT = re.compile(r"(?<=[\d}])\s*\x02\s*[mshglLNJWVKT]\s*\x03(?:\s*\^\s*(?:\{\s*-?\d\s*\}|\d))?$")  # 5\text{ m}
_REALS = re.compile(r"(?:\x02\s*)?(?:the )?(?:set of )?(?:all )?(?:the )?(?:reals|real numbers)(?:\s*\x03)?", re.I)
_INFINITE = {"infinity": "\\infty", "positive infinity": "\\infty", "negative infinity": "-\\infty"}
_TRIGONOMETRY = re.compile(r"sin|cos|tan|cot|sec|csc")
_LIST_COMMA = re.compile(r"(?<=[^\d\s]),(?=\S)|,(?=[^\d\s])")
_UNION = re.compile(r"(?<=[)\]}])\s*(?:\bU\b|\\bigcup(?![a-zA-Z]))\s*(?=[(\[]|\\\{)")
_LETTER_DEGREE = re.compile(r"(?<=\d)\s*\^\s*(?:o\b|\{\s*\x02?\s*o\s*\x03?\s*\})")
_RATIO = re.compile(r"(?<=\d)\s*\x02?\s*\bto\b\s*\x03?\s*(?=\d)")
_MODULO = re.compile(
    r"\(?\s*(?:\\[bp]?mod(?![a-zA-Z])|\x02?\s*\(?\s*\bmod(?:ulo)?\b\s*\x03?)\s*\{?\s*(\d+|[a-z])\s*\}?\s*(?:\)\s*\x03?|\x03\s*\)?|\))?"
)
_PLAIN_GROUP = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?![\d,])")
_SPACE_GROUP = re.compile(r"(?<![\d.,^_}])(\d{1,3})((?: \d{3})+)(?![\d ])")
_MIXED = re.compile(r"(?<![\d.])(\d{1,6}) (\d{1,6}) ?/ ?(\d{1,6})(?![\d.])")
_SPACES = re.compile(r"\s+")
_PUNCTUATION = " \t\n.;:,?"  # no "!": 3! is 6
_CURRENCY = re.compile(r"\\\$|\$|\\euro(?![a-zA-Z])|\\pounds(?![a-zA-Z])")

# Words that say what a value counts or measures. They carry no mathematics, so they are optional on either side.
UNITS = (
    r"(?:square|sq\.?|cubic|cu\.?)?\s*(?:degrees?|deg|radians?|rad|cents?|dollars?|usd|euros?|pounds?|lbs?|ounces?|oz|inches|inch|in\.|feet|foot|ft"
    r"|yards?|yd|miles?|mi|millimeters?|centimeters?|meters?|kilometers?|millimetres?|centimetres?|metres?|kilometres?|mm|cm|km|nm|grams?"
    r"|kilograms?|kg|mg|liters?|litres?|ml|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|yrs?|mph|kph|m/s|cm/s|km/h"
    r"|units?|percent(?:age)?|pct|people|persons?|students?|ways?|times|sides?|points?|numbers?|values?|integers?|solutions?|acres?|hz"
    r"|volts?|joules?|newtons?|watts?|amperes?|ohms?|kelvin|moles?|mol|pa|atm|ev|th grade|grade)"
)
_UNIT_WORD = re.compile(rf"(?<=[\d}})a-z%.])\s*\b{UNITS}(?:\s*(?:per|/|of|a)\s*[a-z]+)?\s*(?:\^\s*\{{?\s*-?\d\s*\}}?)?$", re.I)
_UNIT_WORD_TIGHT = re.compile(rf"(?<=\d){UNITS}(?:\s*\^\s*\{{?\s*-?\d\s*\}}?)?$", re.I)
_PERCENT = re.compile(r"\\?%|(?<=\d)\s*(?:percent(?:age)?|pct)\b", re.I)
_ORDINAL = re.compile(r"(?<=\d)\s*(?:\^\s*)?\{?\s*(?:st|nd|rd|th)\b\s*\}?\s*(?:grade|place|day|term|row)?", re.I)
_TEXT_UNIT = re.compile(r"(?<=[^\s(\[{,=<>])\s*(?:\\ )?\x02[^\x03]*\x03(?:\s*\^\s*(?:\{\s*-?\d\s*\}|\d))?")
# A text that changes the value before it is no unit: 5 or 6, 5 or more, 5 squared (but not 5 cm squared), 5 mod 7.
_CHANGES = re.compile(r"\bor\b|(?<![A-Za-z^{-])\d|^\W*(?:squared|cubed|factorial|half|plus|minus|except|mod|not|and|to|over)\b", re.I)
# A text in front that only announces the value, one in brackets behind, marks of the end, and what an answer was concluded from.
_ANNOUNCED = re.compile(
    r"^\x02(?![^\x03]*\b(?:not|no|or|than|least|most)\b)[^\x03]*(?:\b(?:is|are|equals)|[:=])\s*\x03\s*[:=]?(?=\s*\S)", re.I
)
_REMARK = re.compile(r"(?<=\S)\s*\(\s*\x02[^\x03]*\x03\s*\)$")
_END_MARK = re.compile(r"(?<=\S)\s*\\(?:checkmark|blacksquare|square|Box|qed)\s*$")
_CONCLUSION = re.compile(r"^.*\\(?:implies|Rightarrow|Longrightarrow|therefore)(?![a-zA-Z])\s*(?=[^=<>]*=)(?=.*\S)")
_JOIN_WORDS = re.compile(r"\x02[\s,;]*(and|or|,)[\s,;]*\x03", re.I)


def _groups(text: str) -> str:
    """``1,000`` and ``1 000`` as one number, unless a bracket or another comma makes the comma a separator: ``(1,000)`` is a pair."""
    if (
        "," in text
        and "(" not in text
        and "[" not in text
        and "\\{" not in text
        and (", " in text or not re.search(r",(?!\d{3}(?!\d))", text))
    ):
        text = _PLAIN_GROUP.sub(join_group, text)
    return _SPACE_GROUP.sub(join_group, text)


def _values(text: str) -> str:
    """Words and signs that are part of a value: numbers in words, repeating decimals, ratios, residues, unions, the real numbers."""
    text = multiplied(repeating(text))
    text = re.sub(r"\\Reals(?![a-zA-Z])(?!\s*\^)", r"(-\\infty,\\infty)", text) if "\\Reals" in text else text
    if "mod" in text:
        text = _MODULO.sub(r" \\pmod{\1}", text)
    if "U" in text or "bigcup" in text:
        text = _UNION.sub(r"\\cup ", text)
    if "^" in text:
        text = _LETTER_DEGREE.sub(r"^\\circ ", text)
    if "to" in text:
        text = _RATIO.sub(":", text)
    if text[-1:].isalpha() or text.endswith("\x03"):
        plain = text.strip("\x02\x03 ").lower()
        text = _INFINITE.get(plain) or in_digits(plain) or text
        text = "(-\\infty,\\infty)" if _REALS.fullmatch(text) else text
    return text


def units_off(text: str) -> str:
    """The value without what it counts: trailing text, unit words, degree and currency signs, ordinals."""
    text = _CURRENCY.sub("", text)
    text = _TEMPERATURE.sub("", text)
    text = _LETTER_UNIT.sub("", text)
    text = _DEGREE.sub("^\\\\circ " if _TRIGONOMETRY.search(text) else "", text)
    text = _JOIN_WORDS.sub(lambda m: f" {m.group(1).lower()} ", text)
    text = re.sub(
        r"\x02\s*((?:\([A-Za-z]\)|[+-]?[\d.,]+|[A-Za-z]|[:.,]))\s*\x03", r"\1", text
    )  # \text{204}, \mathrm{E}: notation, not a unit
    previous = None
    while previous != text:
        previous = text
        text = _ORDINAL.sub("", text) if re.search(r"\d\s*(?:\^\s*)?\{?\s*\x02?\s*(?:st|nd|rd|th)\b", text, re.I) else text
        text = _TEXT_UNIT.sub(lambda m: m.group() if _CHANGES.search(m.group().partition("\x02")[2]) else "", text)
        text = _UNIT_WORD_TIGHT.sub("", _UNIT_WORD.sub("", text)) if re.search(r"[\d\\]", text) else text
        text = text if text.endswith("...") else text.rstrip(_PUNCTUATION)
    return text


def normalise(answer: str) -> str:
    """Normal form of an answer for the string tier and for the parser. Idempotent. Longer than MAX_ANSWER: only blanks go."""
    if answer.isdecimal() and answer.isascii() and len(answer) <= 300:
        return str(int(answer))
    if len(answer) > MAX_ANSWER:
        return answer.strip()
    for _ in range(6):
        text = _once(answer)
        if text == answer:
            break
        answer = text
    return text


def _once(answer: str) -> str:
    text = strip_outer(_ORDINAL_TEXT.sub("", latex_spelling(strip_outer(answer))))
    if "\x02" in text or "\\" in text:
        text = _CONCLUSION.sub("", _END_MARK.sub("", _ANNOUNCED.sub("", text)))
        text = _REMARK.sub(lambda m: m.group() if _CHANGES.search(m.group().partition("\x02")[2]) else "", text)
    text = units_off(_LIST_COMMA.sub(", ", _values(text)))
    text = text.replace("\x02", " ").replace("\x03", " ").replace("\\$", "")
    text = _PERCENT.sub("%", text)
    text = _SPACES.sub(" ", text).strip()
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _groups(text)
    text = _HEADLESS.sub("", strip_outer(text))
    if text.isdecimal() and text.isascii() and len(text) <= 300:
        text = str(int(text))
    return text


_HEADLESS = re.compile(r"^(?:(?:=|\\(?:approx|sim|simeq)(?![a-zA-Z]))\s*)+(?=\S)")  # "= 4": what it equals was not written
_BLANK = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_ORDINAL_TEXT = re.compile(r"(?<=\d)\s*\^\s*\{?\s*\x02\s*(?:st|nd|rd|th)\s*\x03\s*\}?", re.I)


def squeeze(text: str) -> str:
    """Normal form without blanks, for string equality; only the blank between two digits stays, as 1 2 is not 12."""
    return _BLANK.sub("", text)


def words(text: str) -> str:
    """Plain words of a textual answer: lower case, no wrappers, no articles, no punctuation. Idempotent."""
    text = latex_spelling(strip_outer(text)).replace("\x02", " ").replace("\x03", " ")
    tokens = re.findall(r"[^\W_]+(?:[.'][^\W_]+)*", text.casefold())
    while tokens and tokens[0] in ("the", "a", "an") and len(tokens) > 1:
        tokens = tokens[1:]
    return " ".join(tokens)
