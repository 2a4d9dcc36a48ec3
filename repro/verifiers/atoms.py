"""What stands between operators in an answer: numbers, names, groups, functions, commands, matrices (half of ``repro/verifiers/parser.py``).

A class to be completed: ``items`` and ``sum`` are the parser's. Everything is checked while it is read, before anything large is built.
"""

from __future__ import annotations

from fractions import Fraction

from repro.verifiers.commands import Commands
from repro.verifiers.tokens import CONSTANT_WORDS, FUNCTION_WORDS, GREEK, NUMBER_WORDS, Node, TooBig, Unparsed

MAX_DEPTH = 24
_FUNCTION_LETTERS = frozenset("fghFGHPQ")
_OPEN = {"(": ")", "[": "]"}


class Atoms(Commands):
    """Reads one atom, with what is attached to it: powers, subscripts, factorials, percent signs, primes."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0
        self.bars = 0  # open signs of an absolute value: the next | closes one

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
        inner = NUMBER_WORDS.get(inner, inner)  # 101_{two}
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
        node = self.over(self.items(("}",)), "}")
        self.expect("}")
        self.depth -= 1
        return node

    def over(self, top: Node, closer: str) -> Node:
        """TeX's own fractions, ``{a \\over b}`` and ``{n \\choose k}``: all of the group before and behind."""
        if self.peek() not in ("\\over", "\\choose"):
            return top
        name = self.take()
        below = self.items((closer,))
        return ("/", top, below) if name == "\\over" else ("f", "binom", (top, below))

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
            condition = self.such_that()
            if condition is not None:
                return condition
            node = self.items(("\\}",))
            self.expect("\\}")
            return ("seq", "{", "}", node[3] if node[0] == "seq" and node[1] == "" else (node,))
        if token in ("|", "\\|"):
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            self.expect(token)
            return ("f", "abs", (node,))
        if token[0] == "\\":
            return self.command(token[1:])
        if token[0] == "'" and len(token) > 1:
            return ("text", token[1:].lower())
        if token in FUNCTION_WORDS:
            return self.function(FUNCTION_WORDS[token])
        if token in CONSTANT_WORDS:
            return CONSTANT_WORDS[token]
        if token in GREEK:
            return ("s", token)
        if token.isalpha() and len(token) == 1:
            if token in _FUNCTION_LETTERS and self.peek() == "(":
                return self.applied(token)
            return {"e": ("c", "e"), "i": ("c", "i")}.get(token, ("s", token))
        raise Unparsed(f"unexpected {token}")

    def such_that(self) -> Node | None:
        """``\\{x \\in R | 2 < x < 5\\}``, behind its opening brace: the condition, which says the same. None for a list of members."""
        name, rest = self.peek(), self.tokens[self.at + 1 : self.at + 12]
        if not ((name.isalpha() and len(name) == 1) or name.lstrip("\\") in GREEK) or rest[:1] not in (["|"], [":"], ["\\in"]):
            return None
        if rest[0] == "\\in":
            reals = ["(", "-", "\\infty", ",", "\\infty", ")"]
            if rest[1:7] != reals or rest[7:8] not in (["|"], [":"]):
                raise Unparsed("a set of other than real numbers")
            self.at += 7
        self.at += 2
        node = self.items(("\\}",))
        self.expect("\\}")
        conditions = node[3] if node[0] == "seq" and node[1] == "" else (node,)
        if any(part[0] != "rel" for part in conditions):
            raise Unparsed("a set without a condition")
        return node

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


def _number(token: str) -> Fraction:
    return Fraction("0" + token) if token[0] == "." else Fraction(token)
