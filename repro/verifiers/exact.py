"""Exact values of trees as fractions, bounded: powers, factorials and products are refused before they are computed.

>>> from repro.verifiers.exact import exact
>>> from repro.verifiers.parser import parse
>>> exact(parse("5!/2^3"))
Fraction(15, 1)
"""

from __future__ import annotations

import math
from fractions import Fraction

from repro.verifiers.tokens import Node, TooBig

MAX_BITS = 20_000
MAX_FACTORIAL = 500


class NotExact(ValueError):
    """No exact value: a symbol, a root, a transcendental function."""


class Undefined(ValueError):
    """Division by zero, infinity minus infinity: equal to nothing, not even to itself."""


def size(value: Fraction) -> int:
    """Bits of the larger of numerator and denominator."""
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
            if size(product) > MAX_BITS:
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
        return function(node[1], node[2])
    raise NotExact(kind)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator == 1:
        if abs(exponent.numerator) * max(1, size(base) - 1) > MAX_BITS and base not in (0, 1, -1):
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


def function(name: str, args: tuple[Node, ...]) -> Fraction:
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
