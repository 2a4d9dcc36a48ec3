"""Value of a tree, in three bounded ways: exactly as a fraction, modulo a prime, and numerically at high precision.

*Exact* settles numbers. *Modulo a prime* settles identities of polynomials and rational functions, whatever the size of their exponents
(Schwartz-Zippel: two different rational functions of degree d agree at a random point with probability about d / 2^127; pi and e are
treated as indeterminates and i as a square root of -1). *Numerically* settles roots, logarithms and the like: both sides at several
points, at 50 and then at 150 digits, so that 1.41421356237 is not the square root of 2 and a tiny value is not 0.

    >>> from repro.verifiers.evaluate import equal_values
    >>> from repro.verifiers.parser import parse
    >>> equal_values(parse("(x+1)^2"), parse("x^2+2x+1")), equal_values(parse("\\\\sqrt{2}"), parse("1.41421356237"))
    (True, False)
"""

from __future__ import annotations

import hashlib
import math
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any

from repro.verifiers.tokens import Node, TooBig

MAX_BITS = 20_000
MAX_FACTORIAL = 500
MAX_DIGITS = 2_000  # working precision never passes this
_LOCAL = threading.local()
PRIME = 2**127 - 735  # 1 modulo 4, so that -1 has a square root


class NotExact(ValueError):
    """No exact value: a symbol, a root, a transcendental function."""


class Undefined(ValueError):
    """Division by zero, infinity minus infinity: equal to nothing, not even to itself."""


def _size(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def exact(node: Node) -> Fraction:
    """Exact rational value. Raises NotExact, Undefined or TooBig."""
    kind = node[0]
    if kind == "n":
        return node[1]
    if kind == "neg":
        return -exact(node[1])
    if kind == "+":
        return sum((exact(item) for item in node[1]), Fraction(0))
    if kind == "*":
        product = Fraction(1)
        for item in node[1]:
            product *= exact(item)
            if _size(product) > MAX_BITS:
                raise TooBig("product")
        return product
    if kind == "/":
        below = exact(node[2])
        if below == 0:
            raise Undefined("division by zero")
        return exact(node[1]) / below
    if kind == "^":
        return _exact_power(exact(node[1]), exact(node[2]))
    if kind == "deg":
        return exact(node[1])
    if kind == "pct":
        return exact(node[1]) / 100
    if kind == "f":
        return _exact_function(node[1], node[2])
    raise NotExact(kind)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator == 1:
        if abs(exponent.numerator) * max(1, _size(base) - 1) > MAX_BITS and base not in (0, 1, -1):
            raise TooBig("power")
        if base == 0 and exponent < 0:
            raise Undefined("division by zero")
        if base in (0, 1, -1):
            return Fraction(base ** (exponent.numerator % 2)) if base == -1 else (base if exponent else Fraction(1))
        return base**exponent.numerator
    root = _exact_root(base, exponent.denominator)
    return _exact_power(root, Fraction(exponent.numerator))


def _exact_root(value: Fraction, degree: int) -> Fraction:
    if degree < 1 or degree > 64 or (value < 0 and degree % 2 == 0):
        raise NotExact("root")
    sign = -1 if value < 0 else 1
    parts = []
    for part in (abs(value.numerator), value.denominator):
        root = _integer_root(part, degree)
        if root**degree != part:
            raise NotExact("root")
        parts.append(root)
    return sign * Fraction(parts[0], parts[1])


def _integer_root(value: int, degree: int) -> int:
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low


def _exact_function(name: str, args: tuple[Node, ...]) -> Fraction:
    if name == "sqrt":
        return _exact_root(exact(args[0]), 2)
    if name == "root":
        degree = exact(args[1])
        if degree.denominator != 1:
            raise NotExact("root")
        return _exact_root(exact(args[0]), degree.numerator)
    if name == "abs":
        return abs(exact(args[0]))
    if name in ("floor", "ceil"):
        value = exact(args[0])
        return Fraction(value.numerator // value.denominator if name == "floor" else -(-value.numerator // value.denominator))
    if name == "factorial":
        value = exact(args[0])
        if value.denominator != 1 or value < 0:
            raise Undefined("factorial")
        if value > MAX_FACTORIAL:
            raise TooBig("factorial")
        return Fraction(math.factorial(value.numerator))
    if name == "binom":
        top, below = exact(args[0]), exact(args[1])
        if top.denominator != 1 or below.denominator != 1 or not below >= 0:
            raise NotExact("binomial")
        if max(top, below) > 2 * MAX_FACTORIAL or top < 0:
            raise TooBig("binomial")
        return Fraction(math.comb(top.numerator, below.numerator))
    if name in ("gcd", "lcm", "max", "min"):
        values = [exact(arg) for arg in args]
        if name in ("max", "min"):
            return max(values) if name == "max" else min(values)
        if any(v.denominator != 1 for v in values):
            raise NotExact(name)
        return Fraction(getattr(math, name)(*(v.numerator for v in values)))
    raise NotExact(name)


def symbols(node: Any) -> frozenset[str]:
    """Names of the free symbols of a tree."""
    if not isinstance(node, tuple):
        return frozenset()
    if node and node[0] == "s":
        return frozenset((node[1],))
    return frozenset().union(*(symbols(item) for item in node)) if node else frozenset()


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:15], "big")


@lru_cache(maxsize=1)
def _root_of_minus_one() -> int:
    for base in range(2, 50):
        root = pow(base, (PRIME - 1) // 4, PRIME)
        if root * root % PRIME == PRIME - 1:
            return root
    raise AssertionError("PRIME is not 1 modulo 4")


def modular(node: Node, seed: int) -> int:
    """Value modulo PRIME at a pseudo-random point. Raises NotExact for anything but rational functions, Undefined, TooBig."""
    kind = node[0]
    if kind == "n":
        below = node[1].denominator % PRIME
        if below == 0:
            raise NotExact("denominator")
        return node[1].numerator * pow(below, -1, PRIME) % PRIME
    if kind == "s":
        return _hash("symbol", node[1], seed) % PRIME
    if kind == "c":
        if node[1] == "oo":
            raise NotExact("infinity")
        return _root_of_minus_one() if node[1] == "i" else _hash("constant", node[1], seed) % PRIME
    if kind == "neg":
        return -modular(node[1], seed) % PRIME
    if kind == "+":
        return sum(modular(item, seed) for item in node[1]) % PRIME
    if kind == "*":
        product = 1
        for item in node[1]:
            product = product * modular(item, seed) % PRIME
        return product
    if kind == "/":
        below = modular(node[2], seed)
        if below == 0:
            raise Undefined("division by zero")
        return modular(node[1], seed) * pow(below, -1, PRIME) % PRIME
    if kind == "^":
        exponent = exact(node[2])
        if exponent.denominator != 1:
            raise NotExact("root")
        if exponent.numerator.bit_length() > 60:
            raise TooBig("exponent")
        base = modular(node[1], seed)
        if base == 0 and exponent <= 0:
            raise Undefined("zero to a power")
        return pow(base, exponent.numerator, PRIME)
    if kind == "f" and node[1].startswith("@"):
        return _hash("function", node[1], [modular(arg, seed) for arg in node[2]], seed) % PRIME
    if kind == "f" and node[1] not in ("abs", "floor", "ceil"):
        value = _exact_function(node[1], node[2])
        return modular(("n", value), seed)
    raise NotExact(kind)


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
        value = self.mp.mpf(_hash("point", name, self.point) % 10**12) / 10**12 * 2 + self.mp.mpf("0.3")
        return -value if self.point >= 2 and _hash("sign", name, self.point) % 2 else value

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
            if _size(node[1]) > MAX_BITS:
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
            return mp.mpf(_hash("function", name, values, self.point) % 10**9) / 10**9 + 1
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


def _close(left: Node, right: Node, digits: int, point: int) -> bool:
    a, b = difference(left, right, digits, point)
    return abs(a - b) <= 10.0 ** (-int(digits * 0.8))


def equal_values(left: Node, right: Node) -> bool:
    """Whether two expressions have the same value, at every point for expressions with symbols.

    Raises NotExact where neither way applies (a part that has no value), TooBig over a limit. Undefined values are equal to nothing.
    """
    try:
        try:
            return exact(left) == exact(right)
        except NotExact:
            pass
        try:
            return modular(left, 1) == modular(right, 1)
        except NotExact:
            pass
        names = symbols(left) | symbols(right)
        for digits, point in ((50, 0), (50, 1), (150, 0)) if names else ((50, 0), (150, 0)):
            if not _close(left, right, digits, point):
                return False
        return _signs_agree(left, right) if names else True
    except Undefined:
        return False


def _signs_agree(left: Node, right: Node) -> bool:
    """Points with negative coordinates tell ``|x|`` from ``x``; where a side is undefined or not real there they say nothing."""
    for point in (2, 3):
        try:
            a, b = difference(left, right, 50, point)
        except (Undefined, TooBig):
            continue
        if getattr(a, "imag", 0) == 0 and getattr(b, "imag", 0) == 0 and abs(a - b) > max(abs(a), abs(b)) * 10**-30:
            return False
    return True


def real_value(node: Node) -> float | None:
    """Real value of a closed expression as a float; None where it has none. For tolerances and for ordering, never for equality."""
    try:
        return float(exact(node))
    except (NotExact, OverflowError):
        pass
    except (Undefined, TooBig):
        return None
    if symbols(node):
        return None
    try:
        value, _ = difference(node, node, 30, 0)
        return float(value.real) if abs(getattr(value, "imag", 0)) < 1e-20 else None
    except (Undefined, TooBig, NotExact, OverflowError):
        return None
