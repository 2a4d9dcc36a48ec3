"""Answers in words and letters: which references are text, option letters, and when two texts say the same.

>>> from repro.verifiers.texts import is_text, letter_of, same_text
>>> is_text("\\\\text{east}"), letter_of("(C) 5 m"), same_text("Alice, Bob", "Bob and Alice")
(True, 'C', True)
"""

from __future__ import annotations

import re
from functools import lru_cache

from repro.verifiers.normalise import MAX_ANSWER, normalise, squeeze, words
from repro.verifiers.spelling import latex_spelling, strip_outer
from repro.verifiers.units import number

_OPTION_ANSWER = re.compile(r"(?:option|choice|answer)?\s*(?:\(\s*([A-Za-z])\s*\)|([A-Za-z])(?:\s*[).:,]|\s*$))(.*)", re.I | re.S)
_TEXT_GOLD = re.compile(r"\s*\\(?:text|mbox|textbf|textit|mathrm|textrm|textnormal)\s*\{([^{}]*)\}[.\s]*")
_PROSE = re.compile(r"(?:(?:[Aa]n?|[Tt]he) )?(?:[^\W\d_]{4,}(?:[ '’,.-]+[^\W\d_]+)*|[^\W\d_]{2,}(?:[ '’,-]+[^\W\d_]{2,})+)")
_MATH_NAMES = "sqrt infty infinity theta alpha beta gamma delta lambda sigma omega frac left right begin"
_MATH_WORDS = frozenset(_MATH_NAMES.split())
NOTHING = frozenset(("no solution", "no solutions", "no real solution", "no real solutions", "empty set", "null set"))
_ABBREVIATED = {"dne": "does not exist"}
EMPTY = frozenset(("\\emptyset", "\\{\\}"))
TRUTH = {"true": True, "yes": True, "false": False, "no": False}


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """Cached normal form."""
    return normalise(text)


def is_text(gold: str) -> bool:
    """Whether a reference is words: ``\\text{east}``, ``Evelyn``, a sentence. A letter or two are symbols."""
    plain = clean(gold)
    if number(plain) is not None or plain in ("\\infty", "-\\infty"):  # \\text{two}, \\text{infinity}
        return False
    match = _TEXT_GOLD.fullmatch(gold)
    inner = match.group(1) if match else strip_outer(gold)
    inner = inner.strip(" .()")
    if inner.lower() in TRUTH:
        return True
    if match and re.fullmatch(r"[^\W\d_]{2,}", inner) and inner.lower() not in ("and", "or"):
        return True
    return (
        bool(_PROSE.fullmatch(inner))
        and not any(word.lower() in _MATH_WORDS for word in inner.split())
        and not re.search(r"[A-Z], ?[A-Z]\b", inner)
    )


def letter_of(answer: str) -> str | None:
    """Option letter that an answer commits to: ``(C)``, ``C``, ``\\text{C}``, ``C) 5 m``; None for several or none."""
    text = latex_spelling(strip_outer(answer)).replace("\x02", " ").replace("\x03", " ").strip(" .'\"*`:")
    match = _OPTION_ANSWER.fullmatch(text) if len(text) <= MAX_ANSWER else None
    if not match:
        return None
    rest = match.group(3)
    if re.match(r"\s*(?:,|and|or|/|&)?\s*(?:or|and)?\s*\(?[A-J]\)?(?:\s*(?:,|or|and|$)|[.)])", rest):
        return None  # "A, B, C or D" commits to nothing
    return (match.group(1) or match.group(2)).upper()


def is_option(gold: str) -> bool:
    """``\\text{(B)}``, ``(B)`` and ``B`` name an option; a lower-case letter is a symbol unless bracketed."""
    text = latex_spelling(strip_outer(gold)).replace("\x02", "").replace("\x03", "").strip(" .")
    return bool(re.fullmatch(r"\([A-Za-z]\)|[A-J]", text))


def opened(answer: str) -> str:
    """An answer without wrappers, blanks and case: ``5\\text{ hours}`` is ``5 hours``."""
    return squeeze(latex_spelling(strip_outer(answer)).replace("\x02", " ").replace("\x03", " ").strip()).casefold()


def same_text(gold: str, answer: str) -> bool:
    """Whether two texts say the same but for case, articles, punctuation, a plural s, and the order of a list of names."""
    want, got = words(gold), words(answer)
    if want in TRUTH and got in TRUTH:
        return TRUTH[want] == TRUTH[got]
    if want == got or (" " not in want and squeeze(want) == squeeze(got)):
        return True
    nothing = [said in NOTHING or clean(side) in EMPTY for said, side in ((want, gold), (got, answer))]
    if all(nothing) or _singular(want) == _singular(got):
        return True
    named, said = _listed(gold), _listed(answer)
    return len(named) > 1 and named == said and not TRUTH.keys() & set(named)  # "true, false" answers two questions, in order


def _singular(text: str) -> str:
    """Text whose last word has lost the s of a plural; an abbreviation in full."""
    text = _ABBREVIATED.get(text, text)
    return text[:-1] if len(text) > 4 and text.endswith("s") and not text.endswith("ss") else text


def _listed(text: str) -> list[str]:
    """What a text lists, in no order: ``Alice, Bob and Carol``."""
    plain = latex_spelling(strip_outer(text)).replace("\x02", " ").replace("\x03", " ")
    return sorted(filter(None, (words(part) for part in re.split(r",|\band\b", plain))))
