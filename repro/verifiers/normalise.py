"""First tier: one spelling for what only looks different. Text in, text out; idempotent; linear time; knows no mathematics.

Unicode signs become LaTeX, spacing and sizing commands go, wrappers such as ``\\textbf{204}`` open, ``\\dfrac`` becomes ``\\frac``,
digit groups join (``10,\\!080`` is ``10080``), and a unit after a value (``15\\mbox{ cm}^2``, ``30^\\circ``, ``\\$36``) is taken off.

    >>> from repro.verifiers.normalise import normalise
    >>> normalise("$10{,}080\\\\text{ dollars}$")
    '10080'
"""

from __future__ import annotations

import re

MAX_ANSWER = 2_000  # characters; nothing longer is an answer (the longest reference of MATH has under 200)

_UNICODE = {
    **dict.fromkeys("−–—﹣－", "-"),
    "×": "*",
    "⋅": "*",
    "·": "*",
    "∙": "*",
    "∗": "*",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "π": "\\pi ",
    "θ": "\\theta ",
    "α": "\\alpha ",
    "β": "\\beta ",
    "γ": "\\gamma ",
    "λ": "\\lambda ",
    "φ": "\\phi ",
    "ω": "\\omega ",
    "∞": "\\infty ",
    "≤": "<=",
    "⩽": "<=",
    "≥": ">=",
    "⩾": ">=",
    "≠": "\\ne ",
    "≈": "\\approx ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∈": "\\in ",
    "∅": "\\emptyset ",
    "±": "\\pm ",
    "√": "\\sqrt",
    "°": "^\\circ ",
    "′": "'",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "½": "\\frac{1}{2}",
    "⅓": "\\frac{1}{3}",
    "¼": "\\frac{1}{4}",
    "¾": "\\frac{3}{4}",
    "€": "",
    "£": "",
    **{chr(0xFF10 + d): str(d) for d in range(10)},  # full-width digits
    **{sup: f"^{{{d}}}" for d, sup in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{chr(0x2080 + d): f"_{{{d}}}" for d in range(10)},
    **dict.fromkeys("\u00a0\u2002\u2003\u2005\u2007\u2009\u200a\u202f\u3000\t\r\n", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e", ""),
}
_TABLE = str.maketrans(_UNICODE)

_SPACING = re.compile(
    r"(?<!\\)\\(?:(?:displaystyle|textstyle|scriptstyle|limits|left|right|[bB]ig{1,2}[lrm]?|mathopen|mathclose|mathstrut|strut|nolimits"
    r"|hfill)(?![a-zA-Z])|[;:!>])"
)
_SPACE = re.compile(r"(?<!\\)\\(?:(?:quad|qquad|enspace|thinspace|medspace)(?![a-zA-Z])|,|\s)|~|\\hspace\{[^{}]*\}")
_WRAPPED = re.compile(
    r"\\(?:boxed|fbox|mathbf|mathit|mathsf|mathbb|boldsymbol|bm|mathcal|emph|ensuremath|underline|textstyle|tag)\s*\{([^{}]*)\}"
)
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|textnormal|textsf|mathrm|rm|hbox|operatorname\*?)\s*\{([^{}]*)\}")
_NAMES = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (re.compile(r"\\(?:leqslant|leqq|leq|le)(?![a-zA-Z])"), "<="),
    (re.compile(r"\\(?:geqslant|geqq|geq|ge)(?![a-zA-Z])"), ">="),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\(?:neq|not\s*=)(?![a-zA-Z])"), r"\\ne "),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:approx|simeq|thickapprox|doteq)(?![a-zA-Z])"), r"\\approx "),
    (re.compile(r"\\(?:lbrace|lbrack|langle)(?![a-zA-Z])"), lambda m: {"\\lbrace": "\\{", "\\lbrack": "[", "\\langle": "("}[m.group()]),
    (re.compile(r"\\(?:rbrace|rbrack|rangle)(?![a-zA-Z])"), lambda m: {"\\rbrace": "\\}", "\\rbrack": "]", "\\rangle": ")"}[m.group()]),
    (re.compile(r"\\(?:vert|mid|lvert|rvert)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\(?:varnothing|O)(?![a-zA-Z])"), r"\\emptyset "),
    (re.compile(r"\\var(epsilon|phi|theta|rho|pi|sigma)(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"\\infin(?![a-zA-Z])"), r"\\infty"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"=<"), "<="),
    (re.compile(r"=="), "="),
)
_DEGREE = re.compile(r"\^\s*\{\s*\\(?:circ|degree)\s*\}|\^\s*\\(?:circ|degree)(?![a-zA-Z])|\\degree(?![a-zA-Z])")
_PRIME = re.compile(r"\^\s*(?:\{\s*((?:\\prime\s*)+|'+)\s*\}|\\prime(?![a-zA-Z]))")
_TEMPERATURE = re.compile(r"(?<=\d)\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\x02\s*[CFK]\s*\x03|[CF]$)")
_LETTER_UNIT = re.compile(r"(?<=[\d}])\s*\x02\s*[mshglLNJWVKT]\s*\x03(?:\s*\^\s*(?:\{\s*-?\d\s*\}|\d))?$")  # 5\text{ m}
_REALS = re.compile(r"(?:\x02\s*)?(?:the )?(?:set of )?(?:all )?(?:the )?(?:reals|real numbers)(?:\s*\x03)?", re.I)
_REPEATING = re.compile(r"(?<![\d.])(\d{0,12})\.(\d{0,12})\s*\\(?:overline|bar)\s*\{?(\d{1,12}(?=\}|$)|\d)\}?")
_MULTIPLIER = re.compile(r"(?<=\d)[\s\x02]*(hundred|thousand|million|billion|trillion|dozen)s?\b\s*\x03?", re.I)
_MULTIPLIERS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty"""
_NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}
_TRIGONOMETRY = re.compile(r"sin|cos|tan|cot|sec|csc")
_GROUP = re.compile(r"(?<![\d.])(\d{1,3})((?:(?:\s*\{\s*,\s*\}\s*|,\\!|\\,|\{\\,\}|, ?\\! ?)\d{3})+)(?!\d)")
_BRACED_COMMA = re.compile(r"\{\s*,\s*\}")
_PLAIN_GROUP = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?![\d,])")
_SPACE_GROUP = re.compile(r"(?<![\d.,^_}])(\d{1,3})((?: \d{3})+)(?![\d ])")
_MIXED = re.compile(r"(?<![\d.])(\d{1,6}) (\d{1,6}) ?/ ?(\d{1,6})(?![\d.])")
_SPACES = re.compile(r"\s+")
_PUNCTUATION = " \t\n.;:,?"  # no "!": 3! is 6
_OUTER = re.compile(r"^(?:[\s;:,!?`\"*]|\.(?!\d))+|[\s.;:,`\"*?]+$|(?<![\w)}\]])!+$")
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
_JOIN_WORDS = re.compile(r"\x02[\s,;]*(?:and|or|,)[\s,;]*\x03", re.I)


def strip_outer(text: str) -> str:
    """Blanks, sentence punctuation and mathematics delimiters around an answer, taken off until nothing changes."""
    while True:
        before = text
        text = _OUTER.sub("", text)
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
                text = text[len(left) : len(text) - len(right)]
                break
        if text.endswith("\\") and not text.endswith("\\\\"):
            text = text[:-1]
        if text == before:
            return text


def single_backslashes(text: str) -> str:
    """``\\\\frac`` as ``\\frac``, in data that was escaped once too often.

    In an answer a line break means something only inside an environment, so outside of one a doubled backslash before a command's name,
    a brace or spacing sign is an escape. Where even ``\\\\begin`` is doubled, everything is.
    """
    if "\\\\" not in text:
        return text
    if not re.search(r"(?<!\\)\\begin", text):
        if re.search(r"\\\\+begin", text):
            return text.replace("\\\\", "\\")
        return re.sub(r"\\{2,}(?=[a-zA-Z]{2}|[{}!,;:()\[\]])", r"\\", text)
    return text


def latex_spelling(text: str) -> str:
    """Unicode and synonymous commands to one LaTeX spelling; sizing gone, text wrappers marked ``\\x02...\\x03``, others opened."""
    text = single_backslashes(text.translate(_TABLE)).replace("\\\\%", "\\%")
    if "\\" in text:
        text = _SPACE.sub(" ", _SPACING.sub("", _GROUP.sub(_join, text)))
        text = text.replace("\\mathbb{R}", "\\Reals ")
        for _ in range(4):  # wrappers inside of wrappers
            text, opened = _WRAPPED.subn(r"\1", text)
            text, marked = _TEXT.subn("\x02\\1\x03", text)
            if not opened + marked:
                break
        text = _PRIME.sub(lambda m: "'" * max(1, (m.group(1) or "").count("prime")), text)
        for pattern, spelling in _NAMES:
            text = pattern.sub(spelling, text)
    if "{" in text and "," in text:
        text = _BRACED_COMMA.sub(",", _GROUP.sub(_join, text))
    return text.replace("**", "^")


def _join(match: re.Match) -> str:
    return match.group(1) + re.sub(r"\D", "", match.group(2))


def _groups(text: str) -> str:
    """``1,000`` and ``1 000`` as one number, unless a bracket or another comma makes the comma a separator: ``(1,000)`` is a pair."""
    if (
        "," in text
        and "(" not in text
        and "[" not in text
        and "\\{" not in text
        and (", " in text or not re.search(r",(?!\d{3}(?!\d))", text))
    ):
        text = _PLAIN_GROUP.sub(_join, text)
    return _SPACE_GROUP.sub(_join, text)


def _repeating(match: re.Match) -> str:
    """``0.1\\overline{6}`` as a fraction."""
    whole, fixed, period = match.groups()
    digits, scale = int(whole + fixed + period) - int("0" + whole + fixed), 10 ** len(fixed) * (10 ** len(period) - 1)
    return f"\\frac{{{digits}}}{{{scale}}}"


def _values(text: str) -> str:
    """Words and signs that are part of a value: repeating decimals, ``million``, a number written as a word, the real numbers."""
    if "\\overline" in text or "\\bar" in text:
        text = _REPEATING.sub(_repeating, text)
    text = _MULTIPLIER.sub(lambda m: f"*{_MULTIPLIERS[m.group(1).lower()]} ", text)
    text = re.sub(r"\\Reals(?![a-zA-Z])(?!\s*\^)", r"(-\\infty,\\infty)", text) if "\\Reals" in text else text
    if text[-1:].isalpha() or text.endswith("\x03"):
        text = _NUMBERS.get(text.strip("\x02\x03 ").lower(), text)
        text = "(-\\infty,\\infty)" if _REALS.fullmatch(text) else text
    return text


def units_off(text: str) -> str:
    """The value without what it counts: trailing text, unit words, degree and currency signs, ordinals."""
    text = _CURRENCY.sub("", text)
    text = _TEMPERATURE.sub("", text)
    text = _LETTER_UNIT.sub("", text)
    text = _DEGREE.sub("^\\\\circ " if _TRIGONOMETRY.search(text) else "", text)
    text = _JOIN_WORDS.sub(" , ", text)
    text = re.sub(r"\x02\s*((?:\([A-Za-z]\)|[+-]?[\d.,]+|[A-Za-z]))\s*\x03", r"\1", text)  # \text{204}, \mathrm{E}: notation, not a unit
    previous = None
    while previous != text:
        previous = text
        text = _ORDINAL.sub("", text) if re.search(r"\d\s*(?:\^\s*)?\{?\s*\x02?\s*(?:st|nd|rd|th)\b", text, re.I) else text
        text = _TEXT_UNIT.sub(lambda m: m.group() if _CHANGES.search(m.group().partition("\x02")[2]) else "", text)
        text = _UNIT_WORD_TIGHT.sub("", _UNIT_WORD.sub("", text)) if re.search(r"[\d\\]", text) else text
        text = text.rstrip(_PUNCTUATION)
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
    text = units_off(_values(text))
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
