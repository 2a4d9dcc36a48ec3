"""Sets of real numbers: what intervals, unions, inequalities, ``x \\ne 0`` and ``|x - 1| < 2`` have in common.

Each becomes a list of pieces (low, low closed, high, high closed) with exact ends, so that ``x < 1 \\text{ or } x > 1``,
``(-\\infty,1)\\cup(1,\\infty)`` and ``x \\ne 1`` are one set. Inequalities are solved where they are linear, or the absolute value of
something linear. Ends that cannot be ordered (symbols) are compared as they stand.

    >>> from repro.verifiers.parser import parse
    >>> from repro.verifiers.regions import same_region
    >>> same_region(parse("|x-1|<2"), parse("(-1,3)"))
    True
"""

from __future__ import annotations

from fractions import Fraction
from functools import cmp_to_key

from repro.verifiers.evaluate import equal_values, real_value, symbols
from repro.verifiers.exact import NotExact, Undefined, exact
from repro.verifiers.shapes import INFINITY, compatible, expand, infinite, is_name, replaced
from repro.verifiers.tokens import Node, TooBig

MAX_PIECES = 30
Piece = tuple[Node, bool, Node, bool]
NEGATIVE: Node = ("neg", INFINITY)
EVERYTHING: list[Piece] = [(NEGATIVE, False, INFINITY, False)]
FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


class NoOrder(ValueError):
    """Ends with symbols: which is larger is not known."""


def is_region(node: Node) -> bool:
    """Whether a tree speaks of a set of numbers in words of its own: an inequality, a union, a list of those. ``(1,2)`` may be a point."""
    if node[0] == "seq":
        return node[1] == "" and any(map(is_region, node[3]))
    return node[0] == "setop" or (node[0] == "rel" and not set(node[1]) <= {"=", "~", "=="})


def same_region(gold: Node, answer: Node) -> bool | None:
    """Whether two trees are the same set of numbers; None where one is none, or where the ends have no common order."""
    try:
        left, right = region(gold), region(answer)
        if left is None or right is None:
            return None
        if left[0] is not None and right[0] is not None and not compatible(left[0], right[0]):
            return False
    except (NoOrder, NotExact, Undefined, TooBig):
        return None
    try:
        return _equal(_merged(left[1]), _merged(right[1]))
    except NoOrder:
        return True if _equal_somehow(left[1], right[1]) else None


def region(node: Node) -> tuple[Node | None, list[Piece]] | None:
    """(name of the variable if there is one, pieces); None for what is no set of real numbers. Raises NoOrder."""
    kind = node[0]
    if kind == "setop" or (kind == "+" and len(node[1]) == 2 and node[1][1][0] == "neg"):
        operation = node[1] if kind == "setop" else "\\setminus"
        parts = node[2] if kind == "setop" else (node[1][0], node[1][1][1])
        if kind == "+" and any(part[0] not in ("seq", "setop") for part in parts):
            return None
        return _operation(operation, parts)
    if kind == "rel":
        return _relation(node)
    if kind != "seq":
        return None
    if node[1] == "{":
        return (None, [(item, True, item, True) for item in node[3]]) if all(not symbols(item) for item in node[3]) else None
    if node[1] == "":
        return _list(node)
    if len(node[3]) != 2 or any(item[0] in ("seq", "rel", "mat") for item in node[3]):
        return None
    low, high = node[3]
    try:
        if _order(low, high) > 0:
            return None
    except NoOrder:
        pass
    return None, [(low, node[1] == "[", high, node[2] == "]")]


def _operation(operation: str, parts: tuple[Node, ...]) -> tuple[Node | None, list[Piece]] | None:
    found = [region(part) for part in parts]
    if None in found:
        return None
    names = {name for name, _ in found if name is not None}
    if len(names) > 1:
        return None
    pieces = found[0][1]
    for _, other in found[1:]:
        if operation != "\\cup":
            other = other if operation == "\\cap" else _complement(other)
        pieces = pieces + other if operation == "\\cup" else _intersection(pieces, other)
    return (names.pop() if names else None), pieces


def _list(node: Node) -> tuple[Node | None, list[Piece]] | None:
    """Conditions joined by words or commas: what holds for all of them, or, where that is nothing or "or" joins them, for one of them."""
    if not is_region(node):
        return None
    items = list(node[3])
    if items[0][0] == "rel" and items[0][1] == ("!=",):  # x != 1, 2: the name stands once
        items = [item if item[0] == "rel" else ("rel", ("!=",), (items[0][2][0], item)) for item in items]
    found = [_relation(item, points=True) if item[0] == "rel" else region(item) for item in items]
    if None in found or len({name for name, _ in found}) > 1 or found[0][0] is None:
        return None
    both = found[0][1]
    for _, other in found[1:]:
        both = _intersection(both, other)
    excluded = all(item[0] == "rel" and item[1] == ("!=",) for item in items)
    if both and (excluded or node[2] != "or"):
        return found[0][0], both
    return found[0][0], [piece for _, pieces in found for piece in pieces]


def _is_variable(node: Node) -> bool:
    """A name for one number: not a sum, not (x, y), not a ratio."""
    return is_name(node) and node[0] not in ("+", "seq", "ratio")


def oriented(node: Node) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """(signs, sides) of an inequality, turned so that it reads from small to large."""
    ops, parts = node[1], node[2]
    if ops[0] in (">", ">="):
        return tuple(FLIP.get(op, op) for op in reversed(ops)), tuple(reversed(parts))
    return ops, parts


def _relation(node: Node, *, points: bool = False) -> tuple[Node | None, list[Piece]] | None:
    ops, parts = oriented(node)
    if ops == ("in",):
        inner = region(parts[1]) if _is_variable(parts[0]) else None
        return (parts[0], inner[1]) if inner else None
    if ops in (("!=",), ("=",)):
        if (ops == ("=",) and not points) or not _is_variable(parts[0]) or symbols(parts[1]):
            return None
        at: list[Piece] = [(value, True, value, True) for value in expand(parts[1])]
        return parts[0], at if ops == ("=",) else _complement(at)
    if not set(ops) <= {"<", "<="}:
        return None
    if len(ops) == 2 and _is_variable(parts[1]) and not symbols(parts[1]) & (symbols(parts[0]) | symbols(parts[2])):
        return parts[1], [(parts[0], ops[0] == "<=", parts[2], ops[1] == "<=")]
    name, pieces = None, EVERYTHING
    for op, low, high in zip(ops, parts, parts[1:], strict=False):
        one = _inequality(low, high, op == "<=")
        if one is None or (name is not None and one[0] != name):
            return None
        name, pieces = one[0], _intersection(pieces, one[1]) if len(ops) > 1 else one[1]
    return name, pieces


def _inequality(low: Node, high: Node, closed: bool) -> tuple[Node, list[Piece]] | None:
    """``low < high`` (or <=) solved for the name in it."""
    for size, other, inside in ((low, high, True), (high, low, False)):
        if size[0] == "f" and size[1] == "abs" and not symbols(other):
            solved = _linear(size[2][0])
            if solved:
                name, slope, shift = solved
                width = exact(other)
                ends = sorted(((width - shift) / slope, (-width - shift) / slope))
                within: list[Piece] = [(("n", ends[0]), closed == inside, ("n", ends[1]), closed == inside)] if width >= 0 else []
                return name, within if inside else _complement(within)
    if _is_variable(low) != _is_variable(high):
        name, value = (low, high) if _is_variable(low) else (high, low)
        if not symbols(name) & symbols(value):
            return name, [(NEGATIVE, False, value, closed) if name is low else (value, closed, INFINITY, False)]
    solved = _linear(("+", (low, ("neg", high))))
    if solved is None:
        return None
    name, slope, shift = solved
    end: Node = ("n", -shift / slope)
    return name, [(NEGATIVE, False, end, closed) if slope > 0 else (end, closed, INFINITY, False)]


def _linear(node: Node) -> tuple[Node, Fraction, Fraction] | None:
    """(x, a, b) of an expression equal to a x + b with rational a and b, a not 0; else None."""
    names = symbols(node)
    if len(names) != 1:
        return None
    name: Node = ("s", next(iter(names)))
    try:
        at = [exact(replaced(node, lambda part, x=x: ("n", Fraction(x)) if part == name else None)) for x in (0, 1, 5)]
    except (NotExact, Undefined, TooBig):
        return None
    slope = at[1] - at[0]
    return (name, slope, at[0]) if slope and at[2] == at[0] + 5 * slope else None


def _order(one: Node, other: Node) -> int:
    """-1, 0, 1 as ``one`` is smaller, equal, larger."""
    left, right = infinite(one), infinite(other)
    if not left and not right:
        left, right = real_value(one), real_value(other)
        if left is None or right is None:
            raise NoOrder
        if abs(left - right) <= 1e-9 * max(1.0, abs(left), abs(right)) and equal_values(one, other):
            return 0
    return (left > right) - (left < right)


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Pieces in order, without empty ones; those that meet are one."""
    if len(pieces) > MAX_PIECES:
        raise NoOrder
    kept = [p for p in pieces if (order := _order(p[0], p[2])) < 0 or (order == 0 and p[1] and p[3] and not infinite(p[0]))]
    kept.sort(key=cmp_to_key(lambda a, b: _order(a[0], b[0]) or b[1] - a[1]))
    merged: list[Piece] = []
    for piece in kept:
        last = merged[-1] if merged else None
        meets = _order(piece[0], last[2]) if last else 1
        if last and (meets < 0 or (meets == 0 and (piece[1] or last[3]))):
            longer = _order(piece[2], last[2])
            merged[-1] = (*last[:2], *(piece[2:] if longer > 0 else (last[2], last[3] or (longer == 0 and piece[3]))))
        else:
            merged.append(piece)
    return merged


def _complement(pieces: list[Piece]) -> list[Piece]:
    found, low, closed = [], NEGATIVE, False
    for piece in _merged(pieces):
        found.append((low, closed, piece[0], not piece[1]))
        low, closed = piece[2], not piece[3]
    return _merged([(a, c and not infinite(a), b, d and not infinite(b)) for a, c, b, d in [*found, (low, closed, INFINITY, False)]])


def _intersection(left: list[Piece], right: list[Piece]) -> list[Piece]:
    if left is EVERYTHING:
        return right
    found: list[Piece] = []
    for a in left:
        for b in right:
            low, high = _order(a[0], b[0]), _order(a[2], b[2])
            start = a[:2] if low > 0 else b[:2] if low < 0 else (a[0], a[1] and b[1])
            end = a[2:] if high < 0 else b[2:] if high > 0 else (a[2], a[3] and b[3])
            found.append((*start, *end))
    return _merged(found)


def _equal(left: list[Piece], right: list[Piece]) -> bool:
    return len(left) == len(right) and all(
        a[1] == b[1] and a[3] == b[3] and _order(a[0], b[0]) == 0 == _order(a[2], b[2]) for a, b in zip(left, right, strict=True)
    )


def _equal_somehow(left: list[Piece], right: list[Piece]) -> bool:
    """The same pieces in any order, for ends with symbols."""
    rest = list(right)
    for a in left:
        for b in rest:
            if a[1] == b[1] and a[3] == b[3] and all(x == y or _equal_ends(x, y) for x, y in ((a[0], b[0]), (a[2], b[2]))):
                rest.remove(b)
                break
        else:
            return False
    return not rest


def _equal_ends(one: Node, other: Node) -> bool:
    try:
        return not infinite(one) and not infinite(other) and equal_values(one, other)
    except (NotExact, TooBig):
        return False
