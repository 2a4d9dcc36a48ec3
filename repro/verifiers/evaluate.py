"""Whether two expressions have the same value, in three bounded ways: exactly as fractions, modulo a prime, and numerically at high precision.

*Exact* (``repro/verifiers/exact.py``) settles numbers. *Modulo a prime* settles identities of polynomials and rational functions, whatever
the size of their exponents (Schwartz-Zippel: two different rational functions of degree d agree at a random point with probability about
d / 2^127; pi and e are treated as indeterminates and i as a square root of -1). *Numerically* (``repro/verifiers/numeric.py``) settles
roots, logarithms and the like: both sides at several points, at 50 and then at 150 digits, so that 1.41421356237 is not the square root
of 2 and a tiny value is not 0.

    >>> from repro.verifiers.evaluate import equal_values
    >>> from repro.verifiers.parser import parse
    >>> equal_values(parse("(x+1)^2"), parse("x^2+2x+1")), equal_values(parse("\\\\sqrt{2}"), parse("1.41421356237"))
    (True, False)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from repro.verifiers.exact import NotExact, Undefined, exact, function
from repro.verifiers.numeric import difference, hashed
from repro.verifiers.tokens import Node, TooBig

PRIME = 2**127 - 735  # 1 modulo 4, so that -1 has a square root


def symbols(node: Any) -> frozenset[str]:
    """Names of the free symbols of a tree."""
    if not isinstance(node, tuple):
        return frozenset()
    if node and node[0] == "s":
        return frozenset((node[1],))
    return frozenset().union(*(symbols(item) for item in node)) if node else frozenset()


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
        return hashed("symbol", node[1], seed) % PRIME
    if kind == "c":
        if node[1] == "oo":
            raise NotExact("infinity")
        return _root_of_minus_one() if node[1] == "i" else hashed("constant", node[1], seed) % PRIME
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
        return hashed("function", node[1], [modular(arg, seed) for arg in node[2]], seed) % PRIME
    if kind == "f" and node[1] not in ("abs", "floor", "ceil"):
        value = function(node[1], node[2])
        return modular(("n", value), seed)
    raise NotExact(kind)


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
