"""Spelling of an answer: Unicode signs, synonymous commands, spacing and wrappers to one LaTeX spelling; what surrounds an answer taken off.

>>> from repro.verifiers.spelling import latex_spelling
>>> print(latex_spelling("−\\\\dfrac12\\\\,π").strip())
-\\frac12 \\pi
"""

from __future__ import annotations

import re

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
    "…": "...",
    "½": "\\frac{1}{2}",
    "⅓": "\\frac{1}{3}",
    "¼": "\\frac{1}{4}",
    "¾": "\\frac{3}{4}",
    "¢": " cents",
    "€": "",
    "£": "",
    **{chr(0xFF10 + d): str(d) for d in range(10)},  # full-width digits
    **{sup: f"^{{{d}}}" for d, sup in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{chr(0x2080 + d): f"_{{{d}}}" for d in range(10)},
    **dict.fromkeys("~\u00a0\u2002\u2003\u2005\u2007\u2009\u200a\u202f\u3000\t\r\n", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e", ""),
}
_TABLE = str.maketrans(_UNICODE)

_SPACING = re.compile(
    r"(?<!\\)\\(?:(?:displaystyle|textstyle|scriptstyle|limits|left|right|[bB]ig{1,2}[lrm]?|mathopen|mathclose|mathstrut|strut|nolimits"
    r"|hfill|tiny|scriptsize|footnotesize|small|normalsize|[lL]arge|LARGE|[hH]uge|bfseries)(?![a-zA-Z])|[!>])|\\(?:(?:text)?color|label)\s*\{[^{}]*\}|\\[hv]?phantom\s*(?:\{[^{}]*\}|\S)"
)
_SPACE = re.compile(r"(?<!\\)\\(?:(?:q?quad|(?:enspace|thinspace|medspace)(?![a-zA-Z]))|[,;:]|\s)|~|\\hspace\{[^{}]*\}")
_WRAPPED = re.compile(
    r"\\(?:boxed|fbox|mathbf|mathit|mathsf|mathbb|boldsymbol|bm|mathcal|emph|ensuremath|underline|textstyle|tag)\s*\{([^{}]*)\}"
)
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|textnormal|textsf|texttt|mathtt|mathrm|rm|hbox|operatorname\*?)\s*\{([^{}]*)\}")
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
    (re.compile(r"\\(?:[lc]?dots|dots[cbmo])(?![a-zA-Z])"), "..."),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"=<"), "<="),
    (re.compile(r"=="), "="),
)
_PRIME = re.compile(r"\^\s*(?:\{\s*((?:\\prime\s*)+|'+)\s*\}|\\prime(?![a-zA-Z]))")
_GROUP = re.compile(r"(?<![\d.])(\d{1,3})((?:(?:\s*\{\s*,\s*\}\s*|,\\!|\\[,;:]|\{\\,\}|, ?\\! ?)\d{3})+)(?!\d)")
_BRACED_SIGN = re.compile(r"\{\s*([,.:])\s*\}")
_OUTER = re.compile(r"^(?:[\s;:,!?`\"*]|\.(?!\d))+|[\s;:,`\"*?]+$|(?<!\.\.)\.$|(?<![\w)}\]])!+$")


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
        text = _SPACE.sub(" ", _SPACING.sub("", _GROUP.sub(join_group, text)))
        text = text.replace("\\mathbb{R}", "\\Reals ")
        for _ in range(4):  # wrappers inside of wrappers
            text, opened = _WRAPPED.subn(r"\1", text)
            text, marked = _TEXT.subn("\x02\\1\x03", text)
            if not opened + marked:
                break
        text = _PRIME.sub(lambda m: "'" * max(1, (m.group(1) or "").count("prime")), text)
        for pattern, spelling in _NAMES:
            text = pattern.sub(spelling, text)
    if "{" in text:
        text = _BRACED_SIGN.sub(r"\1", _GROUP.sub(join_group, text) if "," in text else text)
    return text.replace("**", "^")


def join_group(match: re.Match) -> str:
    """Digits of a number written in groups."""
    return match.group(1) + re.sub(r"\D", "", match.group(2))
