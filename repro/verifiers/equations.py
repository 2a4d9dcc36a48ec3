"""Whether two equations, or two inequalities, have the same solutions: the differences of their sides are proportional.

>>> from repro.verifiers.equations import same_equation
>>> from repro.verifiers.parser import parse
>>> same_equation(parse("y = 2x + 1"), parse("4x - 2y + 2 = 0"))
True
"""

from __future__ import annotations

from repro.verifiers.evaluate import symbols
from repro.verifiers.exact import Undefined
from repro.verifiers.numeric import difference
from repro.verifiers.regions import oriented
from repro.verifiers.tokens import Node


def same_equation(gold: Node, answer: Node) -> bool:
    """For two relations with one ``=`` each. Raises NotExact, TooBig."""
    return _proportional(_sides(gold[2]), _sides(answer[2]), positive=False)


def same_inequality(gold: Node, answer: Node) -> bool:
    """For two relations with one sign each; a factor must be positive, but not where the sign is ``!=``. Raises NotExact, TooBig."""
    (gold_ops, gold_parts), (ops, parts) = oriented(gold), oriented(answer)
    if gold_ops != ops or len(ops) != 1 or ops[0] not in ("<", "<=", "!="):
        return False
    return _proportional(_sides(gold_parts), _sides(parts), positive=ops[0] != "!=")


def _sides(parts: tuple[Node, ...]) -> Node:
    return ("+", (parts[0], ("neg", parts[1])))


def _proportional(left: Node, right: Node, *, positive: bool) -> bool:
    if symbols(left) != symbols(right):
        return False
    try:
        ratios = []
        for point in (0, 1, 2, 3):
            a, b = difference(left, right, 40, point)
            if abs(b) < 1e-25 or abs(a) < 1e-25:
                if abs(a - b) < 1e-25:
                    continue
                return False
            ratios.append(a / b)
        if len(ratios) < 3:
            return False
    except Undefined:
        return False
    if any(abs(ratio - ratios[0]) > abs(ratios[0]) * 1e-25 for ratio in ratios):
        return False
    return not positive or (getattr(ratios[0], "imag", 0) == 0 and ratios[0].real > 0)
