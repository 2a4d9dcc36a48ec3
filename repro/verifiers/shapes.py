"""What a tree says before anything is computed: names in front of values, both signs of ``\\pm``, members of a list, folded vectors.

>>> from repro.verifiers.parser import parse
>>> from repro.verifiers.shapes import members, split_name
>>> split_name(parse("x = 5"))
(('s', 'x'), ('n', Fraction(5, 1)))
>>> len(members(parse("1, \\\\pm 2")))
3
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from repro.verifiers.tokens import Node

ZERO: Node = ("n", Fraction(0))
INFINITY: Node = ("c", "oo")
_CONSTANTS = (("c", "e"), ("c", "i"))
_ASKED = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "floor", "ceil", "abs", "gcd", "lcm", "max", "min", "det"])


def is_name(node: Node) -> bool:
    """What may stand before ``=`` and only says what is meant: a symbol, ``f(x)``, ``AB``, ``|AB|``, ``\\sin A``, ``A:B``, ``(x, y)``, ``a + b``, a word."""
    kind = node[0]
    if kind in ("s", "text"):
        return True
    if kind == "f":
        return node[1].startswith("@") or (node[1] in _ASKED and all(map(is_name, node[2])))
    if kind in ("*", "ratio", "+"):
        return all(is_name(item) or item in _CONSTANTS for item in node[1])
    if kind == "seq":
        return node[1] == "(" and all(is_name(item) for item in node[3])
    if kind == "setop":
        return all(map(is_name, node[2]))
    return kind == "/" and is_name(node[1]) and is_name(node[2])


def split_name(node: Node) -> tuple[Node | None, Node]:
    """(name, value) of ``name = value``; (None, node) of anything else. In ``x = a = b`` the value is the equation ``a = b``."""
    if node[0] != "rel" or not is_name(node[2][0]) or node[1][0] not in ("=", "~", "in", "=="):
        return None, node
    rest = node[2][1:]
    return node[2][0], rest[0] if len(rest) == 1 else ("rel", node[1][1:], rest)


def compatible(name: Node, other: Node) -> bool:
    """Whether two names may mean the same.

    Two plain symbols must be the same one (the line x = 5 is not the line y = 5), and a sum is itself what is stated; f(n) and f(x),
    words and groups may differ.
    """
    if "+" in (name[0], other[0]):
        return name == other
    return not (name[0] == other[0] == "s") or name == other or "_" in name[1] or "_" in other[1]


def exact_parts(node: Node) -> list[Node]:
    """Sides of ``a = b = c \\approx d`` before the approximation."""
    parts = [node[2][0]]
    for op, part in zip(node[1], node[2][1:], strict=True):
        if op == "~":
            break
        parts.append(part)
    return parts


def replaced(node: Any, change: Callable[[Node], Node | None]) -> Any:
    """A tree with some nodes exchanged: ``change`` gives the new node, or None to keep it and look inside."""
    if not isinstance(node, tuple):
        return node
    new = change(node) if node else None
    return new if new is not None else tuple(replaced(item, change) for item in node)


def has_sign(node: object) -> bool:
    """Whether ``\\pm`` or ``\\mp`` stands somewhere in it."""
    return isinstance(node, tuple) and ((bool(node) and node[0] == "pm") or any(map(has_sign, node)))


def expand(node: Node) -> list[Node]:
    """The values that an expression with ``\\pm`` stands for: one or two (all signs move together)."""
    if not has_sign(node):
        return [node]
    return [_with_sign(node, 1), _with_sign(node, -1)]


def _with_sign(node: Node, sign: int) -> Node:
    def change(part: Node) -> Node | None:
        if part[0] != "pm":
            return None
        plus = (sign > 0) == (part[1] == "\\pm")
        right = _with_sign(part[3], sign)
        right = right if plus else ("neg", right)
        return right if part[2] == ZERO else ("+", (_with_sign(part[2], sign), right))

    return replaced(node, change)


def members(node: Node) -> list[Node]:
    """Members of a comma list or a set, two for each ``\\pm``; a lone value is a list of one."""
    if node[0] == "seq" and node[1] in ("", "{"):
        return [value for item in node[3] for value in _members_of_item(item)]
    return _members_of_item(node)


def _members_of_item(node: Node) -> list[Node]:
    name, value = split_name(node)
    if name is not None and value[0] == "seq" and value[1] == "{":
        return [("rel", ("=",), (name, item)) for item in members(value)]
    if name is not None and value[0] != "rel":
        return [("rel", ("=",), (name, item)) for item in expand(value)]
    return expand(node)


def infinite(node: Node) -> int:
    """1, -1 for plus and minus infinity, 0 for anything else."""
    if node == INFINITY:
        return 1
    return -infinite(node[1]) if node[0] == "neg" else 0


def fold(node: Node) -> Node:
    """A number times a matrix or a tuple, its negative, a transposed one, rows in brackets: as one matrix or tuple; others as they are."""
    kind = node[0]
    if kind == "neg" and _is_vector(inner := fold(node[1])):
        return _each(inner, lambda cell: ("neg", cell))
    if kind == "/" and _is_vector(top := fold(node[1])):
        return _each(top, lambda cell: ("/", cell, node[2]))
    if kind == "^" and node[2] == ("s", "T") and _is_vector(node[1]):
        rows = node[1][1] if node[1][0] == "mat" else (node[1][3],)
        return ("mat", tuple(zip(*rows, strict=True)))
    if kind == "seq" and node[1:3] == ("[", "]") and all(item[0] == "seq" and item[1:3] == ("[", "]") for item in node[3]):
        rows = tuple(item[3] for item in node[3])  # a list of lists, as programs write a matrix
        return ("mat", rows) if len({len(row) for row in rows}) == 1 else node
    if kind == "*":
        vectors = [item for item in node[1] if _is_vector(item)]
        scalars = tuple(item for item in node[1] if not _is_vector(item))
        if len(vectors) == 1 and all(item[0] not in ("seq", "mat") for item in scalars):
            return _each(vectors[0], lambda cell: ("*", (*scalars, cell)))
    return node


def _is_vector(node: Node) -> bool:
    return node[0] == "mat" or (node[0] == "seq" and node[1:3] == ("(", ")"))


def _each(node: Node, change: Callable[[Node], Node]) -> Node:
    if node[0] == "mat":
        return ("mat", tuple(tuple(map(change, row)) for row in node[1]))
    return (*node[:3], tuple(map(change, node[3])))
