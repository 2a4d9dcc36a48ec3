"""A whitelist parser for answers: normalised LaTeX or plain text to a small tree, bounded before anything is built.

Only what is listed here can come out, and nothing is ever evaluated by Python (no ``eval``, no ``sympify``): text that does not fit
raises ``Unparsed``, text over a limit raises ``TooBig``. Trees are tuples:

    ("n", Fraction)  ("s", name)  ("c", "pi" | "e" | "i" | "oo")  ("+", items)  ("*", items)  ("/", a, b)  ("^", a, b)  ("neg", a)
    ("f", name, args)  ("pm", sign, a, b)  ("deg", a)  ("pct", a)  ("base", digits, b)  ("text", words)
    ("seq", open, close, items)  ("rel", ops, items)  ("setop", op, items)  ("mat", rows)  ("ratio", items)

    >>> from repro.verifiers.parser import parse
    >>> parse("2x^3")
    ('*', (('n', Fraction(2, 1)), ('^', ('s', 'x'), ('n', Fraction(3, 1)))))
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

MAX_TOKENS = 900
MAX_DEPTH = 24
MAX_DIGITS = 400
MAX_CELLS = 100

Node = tuple


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
_FUNCTION_WORDS = {
    **{name: name for name in FUNCTIONS - {"det"}},
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "arccot": "arccot",
}
_CONSTANT_WORDS = {
    "pi": ("c", "pi"),
    "inf": ("c", "oo"),
    "infty": ("c", "oo"),
    "infinity": ("c", "oo"),
    "oo": ("c", "oo"),
    "Infinity": ("c", "oo"),
}
_FUNCTION_LETTERS = frozenset("fghFGHPQ")
_OPEN = {"(": ")", "[": "]"}
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
_SPLIT_WORDS = frozenset(("and", "or"))
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
    if len(word) == 1 or word in _FUNCTION_WORDS or word in _CONSTANT_WORDS or word in GREEK or word.lower() in _SPLIT_WORDS:
        return [word.lower() if word.lower() in _SPLIT_WORDS else word]
    for name in ("sqrt", "pi", "sin", "cos", "tan", "log", "ln", "exp"):  # "2xsqrt", "xpi", "xsin": a letter run against a known name
        if len(word) > len(name):
            if word.endswith(name) and len(word) - len(name) <= 2:
                return [*word[: -len(name)], name]
            if word.startswith(name) and len(word) - len(name) <= (1 if name != "pi" else 2):
                return [name, *word[len(name) :]]
    if len(word) <= 4:
        return list(word)
    return ["'" + word]


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def peek(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise Unparsed("ends early")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise Unparsed(f"{token} expected")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooBig("nested too deeply")

    # one answer: items between commas, "and", "or"
    def whole(self) -> Node:
        node = self.items(())
        if self.at != len(self.tokens):
            raise Unparsed(f"unexpected {self.peek()}")
        return node

    def items(self, closers: tuple[str, ...]) -> Node:
        found = [self.relation()]
        while self.peek() in (",", ";", "and", "or", "\\land", "\\lor", "\\wedge", "\\vee") and self.peek() not in closers:
            while self.peek() in (",", ";", "and", "or", "\\land", "\\lor", "\\wedge", "\\vee"):
                self.take()
            if not self.peek() or self.peek() in closers:
                break
            found.append(self.relation())
        return found[0] if len(found) == 1 else ("seq", "", "", tuple(found))

    def relation(self) -> Node:
        parts, ops = [self.setops()], []
        while self.peek() in _RELATIONS:
            ops.append(_RELATIONS[self.take()])
            if self.peek() == "(" and ops[-1] == "==":
                raise Unparsed("congruence")
            parts.append(self.setops())
        return ("rel", tuple(ops), tuple(parts)) if ops else parts[0]

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
        if token in _SPLIT_WORDS or token in _RELATIONS:
            return False
        if token[0] == "'" and len(token) > 1:
            return True
        if token == "|":
            return False
        if token in ("(", "[", "{", "\\{"):
            return token in ("(", "{")
        if token[0] == "\\":
            return (
                token[1:] in GREEK
                or token[1:] in FUNCTIONS
                or token in ("\\frac", "\\pi", "\\infty", "\\begin", "\\lfloor", "\\lceil", "\\overline", "\\angle")
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

    def power(self) -> Node:
        node = self.atom()
        while True:
            token = self.peek()
            if token == "^":
                self.take()
                if self.peek() in ("\\circ", "\\degree"):
                    self.take()
                    node = ("deg", node)
                    continue
                if self.peek() == "\\prime" or self.peek() == "'":
                    self.take()
                    node = self.renamed(node, "'")
                    continue
                exponent = self.argument()
                node = ("^", node, exponent)
            elif token == "_":
                self.take()
                node = self.subscript(node)
            elif token == "!":
                self.take()
                node = ("f", "factorial", (node,))
            elif token in ("%", "\\%"):
                self.take()
                node = ("pct", node)
            elif token == "'":
                self.take()
                node = self.renamed(node, "'")
            else:
                return node

    def renamed(self, node: Node, suffix: str) -> Node:
        if node[0] != "s":
            raise Unparsed("prime after an expression")
        return ("s", node[1] + suffix)

    def subscript(self, node: Node) -> Node:
        """A name's subscript becomes part of the name; a number's subscript is its base."""
        if self.peek() == "{":
            self.take()
            start, level = self.at, 1
            while level:
                level += {"{": 1, "}": -1}.get(self.take(), 0)
            inner = "".join(self.tokens[start : self.at - 1])
        else:
            inner = self.take()
        inner = inner.replace("(", "").replace(")", "").replace("'", "")
        if node[0] == "n" and node[1].denominator == 1 and inner.isdigit() and len(inner) < 4:
            return ("base", str(node[1]), int(inner))
        if node[0] == "s":
            return ("s", f"{node[1]}_{inner}")
        if node[0] == "^" and node[1][0] == "s":  # v^2_0 is the square of v_0
            return ("^", ("s", f"{node[1][1]}_{inner}"), node[2])
        raise Unparsed("subscript after an expression")

    def argument(self) -> Node:
        """What a command or ``^`` takes: a group, or one digit, letter or command."""
        token = self.peek()
        if token == "{":
            return self.group()
        if token == "-":
            self.take()
            return ("neg", self.argument())
        if token == "(":
            return self.atom()
        if token[:1].isdigit():
            token = self.take()
            return ("n", _number(token))
        return self.atom()

    def short_argument(self) -> Node:
        """Argument of ``\\frac`` and ``\\sqrt``, where LaTeX takes a single digit: ``\\frac12``, ``\\sqrt3``."""
        token = self.peek()
        if token[:1].isdigit() and len(token) > 1 and token.isdigit():
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self.argument()

    def group(self) -> Node:
        self.expect("{")
        self.deeper()
        if self.peek() == "}":
            raise Unparsed("empty group")
        node = self.items(("}",))
        self.expect("}")
        self.depth -= 1
        return node

    def atom(self) -> Node:
        self.deeper()
        node = self._atom()
        self.depth -= 1
        return node

    def _atom(self) -> Node:
        token = self.take()
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return ("n", _number(token))
        if token == "{":
            self.at -= 1
            return self.group()
        if token in _OPEN:
            return self.bracket(token)
        if token == "\\{":
            if self.peek() == "\\}":
                self.take()
                return ("seq", "{", "}", ())
            node = self.items(("\\}",))
            self.expect("\\}")
            return ("seq", "{", "}", node[3] if node[0] == "seq" and node[1] == "" else (node,))
        if token in ("|", "\\|"):
            node = self.sum()
            self.expect(token)
            return ("f", "abs", (node,))
        if token[0] == "\\":
            return self.command(token[1:])
        if token[0] == "'" and len(token) > 1:
            return ("text", token[1:].lower())
        if token in _FUNCTION_WORDS:
            return self.function(_FUNCTION_WORDS[token])
        if token in _CONSTANT_WORDS:
            return _CONSTANT_WORDS[token]
        if token in GREEK:
            return ("s", token)
        if token.isalpha() and len(token) == 1:
            if token in _FUNCTION_LETTERS and self.peek() == "(":
                return self.applied(token)
            return {"e": ("c", "e"), "i": ("c", "i")}.get(token, ("s", token))
        raise Unparsed(f"unexpected {token}")

    def applied(self, name: str) -> Node:
        self.expect("(")
        inner = self.items((")",))
        self.expect(")")
        return ("f", "@" + name, inner[3] if inner[0] == "seq" and inner[1] == "" else (inner,))

    def bracket(self, opened: str) -> Node:
        inner = self.items((")", "]"))
        closed = self.take()
        if closed not in (")", "]"):
            raise Unparsed("bracket not closed")
        if inner[0] == "seq" and inner[1] == "":
            return ("seq", opened, closed, inner[3])
        if closed != _OPEN[opened]:
            raise Unparsed("brackets differ")
        return inner

    def function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        while self.peek() in ("_", "^"):
            if self.take() == "_":
                base = self.argument()
            else:
                power = self.argument()
        if self.peek() == "(":
            self.take()
            inner = self.items((")",))
            self.expect(")")
            args = inner[3] if inner[0] == "seq" and inner[1] == "" else (inner,)
        elif self.peek() == "{" or name == "sqrt":
            args = (self.short_argument(),)
        else:
            factors = [self.power()]  # sin 2x
            while self.peek() and self.starts_factor(self.peek()) and not self._function_next():
                factors.append(self.power())
            args = (factors[0] if len(factors) == 1 else ("*", tuple(factors)),)
        if base is not None:
            if name != "log":
                raise Unparsed("subscript of a function")
            args = (*args, base)
        node: Node = ("f", name, args)
        if power is not None:
            if power == ("neg", ("n", Fraction(1))):
                return ("f", "arc" + name, args)
            node = ("^", node, power)
        return node

    def _function_next(self) -> bool:
        token = self.peek().lstrip("\\")
        return token in FUNCTIONS or token == "("

    def command(self, name: str) -> Node:
        if name in ("frac", "cfrac"):
            top = self.short_argument()
            return ("/", top, self.short_argument())
        if name == "sqrt":
            if self.peek() == "[":
                self.take()
                degree = self.sum()
                self.expect("]")
                return ("f", "root", (self.short_argument(), degree))
            return ("f", "sqrt", (self.short_argument(),))
        if name == "binom":
            top = self.short_argument()
            return ("f", "binom", (top, self.short_argument()))
        if name == "pi":
            return ("c", "pi")
        if name == "infty":
            return ("c", "oo")
        if name in GREEK:
            return ("s", name)
        if name == "emptyset":
            return ("seq", "{", "}", ())
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect("\\rfloor" if name == "lfloor" else "\\rceil")
            return ("f", "floor" if name == "lfloor" else "ceil", (node,))
        if name in ("overline", "overrightarrow", "vec", "hat", "bar", "widehat", "tilde", "angle", "triangle"):
            return ("s", name + repr(self.argument()))
        if name in FUNCTIONS:
            return self.function(name)
        if name == "begin":
            return self.matrix()
        raise Unparsed(f"\\{name}")

    def matrix(self) -> Node:
        self.expect("{")
        kind = ""
        while self.peek() != "}":
            kind += self.take().lstrip("'")
        self.take()
        if kind not in ("pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array", "vmatrix"):
            raise Unparsed(f"environment {kind}")
        if kind == "array" and self.peek() == "{":
            while self.take() != "}":
                pass
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while True:
            row.append(self.sum())
            token = self.take()
            if token == "&":
                continue
            if token == "\\\\" and self.peek() != "\\end":
                rows.append(tuple(row))
                row = []
                continue
            if token == "\\\\":
                token = self.take()
            if token != "\\end":
                raise Unparsed("matrix")
            rows.append(tuple(row))
            break
        self.expect("{")
        while self.take() != "}":
            pass
        if len({len(r) for r in rows}) != 1:
            raise Unparsed("matrix rows differ")
        if len(rows) * len(rows[0]) > MAX_CELLS:
            raise TooBig("matrix too large")
        return ("mat", tuple(rows)) if kind != "vmatrix" else ("f", "det", (("mat", tuple(rows)),))


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


def _number(token: str) -> Fraction:
    return Fraction("0" + token) if token[0] == "." else Fraction(token)


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
    return _Parser(tokens).whole()
