"""Commands of LaTeX and named functions in an answer: fractions, roots, ``\\sin``, floors, matrices (half of ``repro/verifiers/atoms.py``).

A class to be completed: what reads tokens, groups and sums is the parser's.
"""

from __future__ import annotations

from fractions import Fraction

from repro.verifiers.tokens import FUNCTIONS, GREEK, Node, TooBig, Unparsed

MAX_CELLS = 100


class Commands:
    """Reads a function or a command whose name has just been taken."""

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
