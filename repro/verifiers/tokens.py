"""Text of an answer as tokens, bounded: the first half of the parser (``repro/verifiers/parser.py``).

>>> from repro.verifiers.tokens import tokens_of
>>> tokens_of("2xsqrt(3)")
['2', 'x', 'sqrt', '(', '3', ')']
"""

from __future__ import annotations

import re

MAX_TOKENS = 900
MAX_DIGITS = 400

Node = tuple  # of the tree that the parser makes of the tokens


class Unparsed(ValueError):
    """The text is not in the language of this parser."""


class TooBig(ValueError):
    """Over a limit: tokens, nesting, digits, exponent, factorial, matrix cells. Such an answer is refused, not tried."""


_TOKEN = re.compile(
    r"(?P<num>\d+\.\d+[eE][-+]?\d{1,3}(?!\d)|\d+[eE][-+]?\d{1,3}(?![\da-zA-Z^_(])|\d+(?:\.\d+)?|\.\d+)|(?P<cmd>\\[a-zA-Z]+)|(?P<esc>\\\\|\\[{}|%#&_])|(?P<rel><=|>=|!=|[<>=])|(?P<op>[-+*/^_(){}\[\]|,;:!%'&])|(?P<word>[a-zA-Z]+)|(?P<sp>\s+)"
)
_GREEK = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"""
GREEK = frozenset(_GREEK.split())
_FUNCTIONS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp abs floor ceil sqrt gcd lcm max min binom det"
FUNCTIONS = frozenset(_FUNCTIONS.split())
FUNCTION_WORDS = {
    **{name: name for name in FUNCTIONS - {"det"}},
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "arccot": "arccot",
}
CONSTANT_WORDS = {
    "pi": ("c", "pi"),
    "inf": ("c", "oo"),
    "infty": ("c", "oo"),
    "infinity": ("c", "oo"),
    "oo": ("c", "oo"),
    "Infinity": ("c", "oo"),
}
_NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty"""
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}
SPLIT_WORDS = frozenset(("and", "or"))
_SKIP = frozenset(("\\displaystyle", "\\nonumber", "\\limits", "\\quad", "\\rm", "\\bf", "\\it"))


def tokens_of(text: str) -> list[str]:
    """Token list without blanks (except where a blank ends a word); raises Unparsed or TooBig."""
    found, end = [], 0
    for match in _TOKEN.finditer(text):
        if match.start() != end:
            raise Unparsed(f"character {text[end]!r}")
        end = match.end()
        token = match.group()
        if match.lastgroup == "sp":
            continue
        if match.lastgroup == "num" and len(token) > MAX_DIGITS:
            raise TooBig("number with too many digits")
        if token in _SKIP:
            continue
        if match.lastgroup == "word":
            found.extend(_split_word(token))
        else:
            found.append(token)
        if len(found) > MAX_TOKENS:
            raise TooBig("too many tokens")
    if end != len(text):
        raise Unparsed(f"character {text[end]!r}")
    return found


def _split_word(word: str) -> list[str]:
    """Known names whole, short unknown runs as a product of letters, long ones as text (marked by a leading quote)."""
    if len(word) == 1 or word in FUNCTION_WORDS or word in CONSTANT_WORDS or word in GREEK or word.lower() in SPLIT_WORDS:
        return [word.lower() if word.lower() in SPLIT_WORDS else word]
    for name in ("sqrt", "pi", "sin", "cos", "tan", "log", "ln", "exp"):  # "2xsqrt", "xpi", "xsin": a letter run against a known name
        if len(word) > len(name):
            if word.endswith(name) and len(word) - len(name) <= 2:
                return [*word[: -len(name)], name]
            if word.startswith(name) and len(word) - len(name) <= (1 if name != "pi" else 2):
                return [name, *word[len(name) :]]
    if word in NUMBER_WORDS and len(word) > 2:  # the base in 101_{two}
        return ["'" + word]
    if len(word) <= 4:
        return list(word)
    return ["'" + word]
