"""Values of trees in floating point of any precision, at pseudo-random points where there are symbols; bounded in size and precision.

>>> from repro.verifiers.numeric import difference
>>> from repro.verifiers.parser import parse
>>> a, b = difference(parse("\\\\sqrt{2}"), parse("1.41421356237"), 30, 0)
>>> abs(a - b) < 1e-11, a == b
(True, False)
"""

from __future__ import annotations

import hashlib
import threading
from fractions import Fraction
from typing import Any

from repro.verifiers.exact import MAX_BITS, MAX_FACTORIAL, NotExact, Undefined, exact, size
from repro.verifiers.tokens import Node, TooBig

MAX_DIGITS = 2_000  # working precision never passes this
_LOCAL = threading.local()


def hashed(*parts: object) -> int:
    """A whole number of 120 bits that depends on the parts only."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:15], "big")


class _Numeric:
    """Evaluates at ``digits`` of precision; ``size`` remembers the largest intermediate value, for what cancellation may have cost."""

    def __init__(self, digits: int, point: int) -> None:
        if not hasattr(_LOCAL, "mp"):
            import mpmath  # 0.1 s, and only answers with roots and the like need it

            _LOCAL.mp = mpmath.mp.clone()  # precision is state of the context: one a thread
        self.mp = _LOCAL.mp
        self.mp.dps = digits
        self.point, self.size = point, self.mp.mpf(1)

    def symbol(self, name: str) -> Any:
        value = self.mp.mpf(hashed("point", name, self.point) % 10**12) / 10**12 * 2 + self.mp.mpf("0.3")
        return -value if self.point >= 2 and hashed("sign", name, self.point) % 2 else value

    def __call__(self, node: Node) -> Any:
        value = self._value(node)
        mp = self.mp
        if mp.isnan(value) or mp.isinf(value):
            raise Undefined("no finite value")
        size = abs(value)
        if size > self.size:
            if mp.mag(size) > 3 * MAX_DIGITS:
                raise TooBig("value")
            self.size = size
        return value

    def _value(self, node: Node) -> Any:
        mp, kind = self.mp, node[0]
        if kind == "n":
            if size(node[1]) > MAX_BITS:
                raise TooBig("number")
            return mp.mpf(node[1].numerator) / node[1].denominator
        if kind == "s":
            return self.symbol(node[1])
        if kind == "c":
            if node[1] == "oo":
                raise Undefined("infinity")
            return {"pi": mp.pi, "e": mp.e, "i": mp.mpc(0, 1)}[node[1]] * 1
        if kind == "neg":
            return -self(node[1])
        if kind == "+":
            return mp.fsum(self(item) for item in node[1]) if len(node[1]) > 2 else self(node[1][0]) + self(node[1][1])
        if kind == "*":
            product = mp.mpf(1)
            for item in node[1]:
                product *= self(item)
            return product
        if kind == "/":
            below = self(node[2])
            if abs(below) <= abs(self.size) * mp.mpf(10) ** (10 - mp.dps):
                raise Undefined("division by zero")
            return self(node[1]) / below
        if kind == "^":
            return self.power(self(node[1]), node[2])
        if kind == "deg":
            return self(node[1])
        if kind == "pct":
            return self(node[1]) / 100
        if kind == "f":
            return self.function(node[1], node[2])
        raise NotExact(kind)

    def power(self, base: Any, exponent: Node) -> Any:
        mp = self.mp
        try:
            ratio: Fraction | None = exact(exponent)
        except NotExact:
            ratio = None
        except Undefined:
            raise
        if base == 0:
            if ratio is not None and ratio > 0:
                return mp.mpf(0)
            if ratio == 0:
                return mp.mpf(1)
            raise Undefined("zero to a power")
        if ratio is not None and (abs(ratio.numerator) > 10**6 or ratio.denominator > 10**6):
            raise TooBig("exponent")
        value = self(exponent)
        if abs(mp.mag(base)) * abs(value) > 6 * MAX_DIGITS:
            raise TooBig("power")
        if ratio is not None and ratio.denominator % 2 == 1 and ratio.denominator > 1 and mp.im(base) == 0 and mp.re(base) < 0:
            root = abs(mp.re(base)) ** value  # the real root of an odd degree, as school mathematics has it
            return -root if ratio.numerator % 2 else root
        if ratio is not None and ratio.denominator == 1:
            return base ** int(ratio.numerator)
        return base**value

    def angle(self, node: Node) -> Any:
        value = self(node)
        if abs(value) > 10**9:
            raise TooBig("angle")
        return value * self.mp.pi / 180 if _has_degrees(node) else value

    def function(self, name: str, args: tuple[Node, ...]) -> Any:
        mp = self.mp
        if name.startswith("@"):
            values = [str(mp.nstr(self(arg), 25)) for arg in args]
            return mp.mpf(hashed("function", name, values, self.point) % 10**9) / 10**9 + 1
        if name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return getattr(mp, name)(self.angle(args[0]))
        if name in ("sinh", "cosh", "tanh", "exp"):
            value = self(args[0])
            if abs(value) > 2 * MAX_DIGITS:
                raise TooBig(name)
            return getattr(mp, name)(value)
        if name in ("arcsin", "arccos", "arctan", "arccot"):
            value = self(args[0])
            return mp.atan(1 / value) if name == "arccot" else getattr(mp, "a" + name[3:])(value)
        if name == "sqrt":
            return mp.sqrt(self(args[0]))
        if name == "root":
            return self.power(self(args[0]), ("/", ("n", Fraction(1)), args[1]))
        if name in ("log", "ln", "lg"):
            value = self(args[0])
            if value == 0:
                raise Undefined("logarithm of zero")
            base = self(args[1]) if len(args) > 1 else (mp.mpf(10) if name == "lg" else None)
            if base is not None and (base in (0, 1)):
                raise Undefined("base of a logarithm")
            return mp.log(value) if base is None else mp.log(value) / mp.log(base)
        if name == "abs":
            return abs(self(args[0]))
        if name in ("floor", "ceil"):
            value = self(args[0])
            if mp.im(value) != 0:
                raise Undefined(name)
            return getattr(mp, name)(mp.re(value))
        if name in ("max", "min"):
            values = [self(arg) for arg in args]
            if any(mp.im(v) != 0 for v in values):
                raise Undefined(name)
            return (max if name == "max" else min)(values)
        if name in ("factorial", "binom"):
            values = [self(arg) for arg in args]
            if any(abs(v) > MAX_FACTORIAL for v in values):
                raise TooBig(name)
            return mp.factorial(values[0]) if name == "factorial" else mp.binomial(*values)
        raise NotExact(name)


def _has_degrees(node: Any) -> bool:
    return isinstance(node, tuple) and ((bool(node) and node[0] == "deg") or any(_has_degrees(item) for item in node))


def difference(left: Node, right: Node, digits: int, point: int) -> tuple[Any, Any]:
    """(left, right) at a point, with an absolute error of about 10^-digits. Raises Undefined, TooBig, NotExact.

    Large intermediate values cost digits, so their size is added to the working precision: ``(x+1)^{2000}+1`` is not ``(x+1)^{2000}``.
    """
    working = digits
    for _ in range(2):
        numeric = _Numeric(working, point)
        try:
            a, b = numeric(left), numeric(right)
        except (Undefined, TooBig, NotExact):
            raise
        except (ArithmeticError, ValueError, TypeError) as error:
            raise Undefined(str(error)) from error
        needed = digits + max(0, int(numeric.mp.mag(numeric.size) * 0.302)) + 5
        if needed <= working + 10:
            break
        if needed > MAX_DIGITS:
            raise TooBig("precision")
        working = needed
    return a, b
