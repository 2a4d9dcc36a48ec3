"""A whitelist parser for answers: normalised LaTeX or plain text to a small tree, bounded before anything is built.

Only what is listed here can come out, and nothing is ever evaluated by Python (no ``eval``, no ``sympify``): text that does not fit
raises ``Unparsed``, text over a limit raises ``TooBig``. Trees are tuples:

    ("n", Fraction)  ("s", name)  ("c", "pi" | "e" | "i" | "oo")  ("+", items)  ("*", items)  ("/", a, b)  ("^", a, b)  ("neg", a)
    ("f", name, args)  ("pm", sign, a, b)  ("deg", a)  ("pct", a)  ("base", digits, b)  ("text", words)  ("mod", a, modulus)
    ("seq", open, close, items)  ("rel", ops, items)  ("setop", op, items)  ("mat", rows)  ("ratio", items)

A plain list is ``("seq", "", close, items)``; ``close`` is "or" where only that word joins it.

    >>> from repro.verifiers.parser import parse
    >>> parse("2x^3")
    ('*', (('n', Fraction(2, 1)), ('^', ('s', 'x'), ('n', Fraction(3, 1)))))
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from repro.verifiers.atoms import Atoms
from repro.verifiers.tokens import FUNCTIONS, GREEK, SPLIT_WORDS, Node, TooBig, Unparsed, tokens_of

__all__ = ["Node", "TooBig", "Unparsed", "parse"]

MAX_LEVELS = 120  # of tuples in tuples; a node has two for its list of items
_JOINERS = (",", ";", "and", "or", "\\land", "\\lor", "\\wedge", "\\vee")
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
    "!=": "!=",
    "\\ne": "!=",
    "\\in": "in",
    "\\approx": "~",
    "\\equiv": "==",
}


class _Parser(Atoms):
    """Lists, relations, set operations, ratios, sums and products of atoms."""

    def whole(self) -> Node:
        node = self.over(self.items(()), "")
        if self.at != len(self.tokens):
            raise Unparsed(f"unexpected {self.peek()}")
        return node

    def items(self, closers: tuple[str, ...]) -> Node:
        """Items between commas, "and", "or"; one item alone is itself."""
        found, joined = [self.relation()], []
        while self.peek() in _JOINERS and self.peek() not in closers:
            words = []
            while self.peek() in _JOINERS:
                words.append(self.take())
            if not self.peek() or self.peek() in closers:
                break
            joined.append(any(word in ("or", "\\lor", "\\vee") for word in words))
            found.append(self.relation())
        return found[0] if len(found) == 1 else ("seq", "", "or" if all(joined) else "", tuple(found))

    def relation(self) -> Node:
        parts, ops = [self.called() or self.setops()], []
        while self.peek() in _RELATIONS:
            ops.append(_RELATIONS[self.take()])
            parts.append(self.setops())
        if self.peek() == "\\pmod":
            self.take()
            parts[-1] = ("mod", parts[-1], self.argument())
        return ("rel", tuple(ops), tuple(parts)) if ops else parts[0]

    def called(self) -> Node | None:
        """``A(3)``, ``p(x)``, ``f^{-1}(x)`` before an equals sign: what is asked for, whatever the letter; elsewhere it may be a product."""
        at = self.at
        letter, rest = self.peek(), self.tokens[at + 1 : at + 14]
        if not (letter.isalpha() and len(letter) == 1):
            return None
        inverse = rest[:5] == ["^", "{", "-", "1", "}"]
        rest = rest[5:] if inverse else rest
        if rest[:1] != ["("] or ")" not in rest:
            return None
        end = rest.index(")")
        inner = [token for token in rest[1:end] if token not in (",", "-")]
        simple = all(token.isalnum() and token != letter for token in inner)
        if not inner or not simple or len(inner) > 1 + rest[:end].count(",") or rest[end + 1 : end + 2] != ["="]:
            return None
        self.at += 1 + 5 * inverse
        return self.applied(letter + "^-1" * inverse)

    def setops(self) -> Node:
        parts, ops = [self.ratio()], []
        while self.peek() in ("\\cup", "\\cap", "\\setminus", "\\backslash"):
            ops.append(self.take())
            parts.append(self.ratio())
        if not ops:
            return parts[0]
        if len(set(ops)) > 1:
            raise Unparsed("mixed set operations")
        return ("setop", ops[0], tuple(parts))

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.peek() == ":":
            self.take()
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else ("ratio", tuple(parts))

    def sum(self) -> Node:
        terms = []
        if self.peek() in ("\\pm", "\\mp"):
            sign = self.take()
            node: Node = ("pm", sign, ("n", Fraction(0)), self.term())
        else:
            node = self.term()
        terms.append(node)
        while True:
            token = self.peek()
            if token == "+":
                self.take()
                if self.peek() in ("/", "-") and self.peek(1) == "-":  # "+/-"
                    self.take()
                    self.take()
                    left = terms[0] if len(terms) == 1 else ("+", tuple(terms))
                    terms = [("pm", "\\pm", left, self.term())]
                else:
                    terms.append(self.term())
            elif token == "-":
                self.take()
                terms.append(("neg", self.term()))
            elif token in ("\\pm", "\\mp"):
                self.take()
                left = terms[0] if len(terms) == 1 else ("+", tuple(terms))
                terms = [("pm", token, left, self.term())]
            else:
                return terms[0] if len(terms) == 1 else ("+", tuple(terms))

    def term(self) -> Node:
        factors = [self.unary()]
        while True:
            token = self.peek()
            if token == "*":
                self.take()
                factors.append(self.unary())
            elif token == "/":
                self.take()
                left = factors[0] if len(factors) == 1 else ("*", tuple(factors))
                factors = [("/", left, self.unary())]
            elif token and self.starts_factor(token):
                if factors[-1][0] == "n" and token[0] in ".0123456789":
                    raise Unparsed("two numbers side by side")  # "1 2", "1.2.3": not a product
                right = self.power()
                mixed = _mixed(factors[0], right) if len(factors) == 1 and token == "\\frac" else None
                factors = [mixed] if mixed else [*factors, right]
            else:
                return factors[0] if len(factors) == 1 else ("*", tuple(factors))

    def starts_factor(self, token: str) -> bool:
        if token in SPLIT_WORDS or token in _RELATIONS:
            return False
        if token[0] == "'" and len(token) > 1:
            return True
        if token == "|":
            return self.bars == 0
        if token in ("(", "[", "{", "\\{"):
            return token in ("(", "{")
        if token[0] == "\\":
            return (
                token[1:] in GREEK
                or token[1:] in FUNCTIONS
                or token in ("\\frac", "\\pi", "\\infty", "\\begin", "\\lfloor", "\\lceil", "\\overline", "\\angle", "\\triangle")
            )
        return token[0].isalnum() or token[0] == "."

    def unary(self) -> Node:
        token = self.peek()
        if token == "-":
            self.take()
            self.deeper()
            node = ("neg", self.unary())
            self.depth -= 1
            return node
        if token == "+":
            self.take()
            self.deeper()
            node = self.unary()
            self.depth -= 1
            return node
        return self.power()


def _mixed(whole: Node, part: Node) -> Node | None:
    """``1\\frac{4}{5}`` is a mixed number, not a product; a sign in front or a percent sign behind belongs to all of it. Else None."""
    if whole[0] == "neg":
        inner = _mixed(whole[1], part)
        return inner and ("neg", inner)
    if part[0] == "pct":
        inner = _mixed(whole, part[1])
        return inner and ("pct", inner)
    if whole[0] != "n" or part[0] != "/" or part[1][0] != "n" or part[2][0] != "n":
        return None
    return ("+", (whole, part)) if whole[1].denominator == 1 and 0 < part[1][1] < part[2][1] else None


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """Tree of a normalised answer.

    Raises:
        Unparsed: not in the language.
        TooBig: over a limit; checked while reading, before the part over the limit is built.
    """
    tokens = tokens_of(text)
    if not tokens:
        raise Unparsed("empty")
    node = _Parser(tokens).whole()
    _check_depth(node)
    return node


def _check_depth(node: Node) -> None:
    """Chains such as 1/1/1/... or 7!!!... nest without brackets; what comes later walks trees by recursion."""
    level = [node]
    for _ in range(MAX_LEVELS):
        level = [item for part in level for item in part if isinstance(item, tuple)]
        if not level:
            return
    raise TooBig("nested too deeply")
