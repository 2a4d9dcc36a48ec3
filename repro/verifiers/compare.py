"""Comparison of two trees; the reference decides what kind of thing is compared and which rules hold.

Order matters in tuples, not in comma lists and sets; brackets matter; a name in front (``x = 5``) is optional, a number in front
(``6 = 5``) is a claim that must be true; inequalities and intervals say the same thing; ``a \\pm b`` is two values; a base stays.

    >>> from repro.verifiers.compare import same
    >>> from repro.verifiers.parser import parse
    >>> same(parse("[0,9)"), parse("0<=x<9")), same(parse("5"), parse("6=5"))
    (True, False)
"""

from __future__ import annotations

from fractions import Fraction

from repro.verifiers.evaluate import NotExact, Undefined, difference, equal_values, exact, real_value, symbols
from repro.verifiers.parser import Node, TooBig

MAX_ITEMS = 60  # of a list compared without order; matching is quadratic
ZERO: Node = ("n", Fraction(0))
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def is_name(node: Node) -> bool:
    """A symbol, ``f(x)``, ``AB``, ``|AB|``, ``A:B``, ``(x, y)``, ``a + b``, a word: what may stand before ``=`` and only says what is meant."""
    kind = node[0]
    if kind in ("s", "text"):
        return True
    if kind == "f":
        return node[1].startswith("@") or (node[1] == "abs" and is_name(node[2][0]))
    if kind in ("*", "ratio", "+"):
        return all(is_name(item) or item in (("c", "e"), ("c", "i")) for item in node[1])
    if kind == "seq":
        return node[1] == "(" and all(is_name(item) for item in node[3])
    return kind == "/" and is_name(node[1]) and is_name(node[2])


def split_name(node: Node) -> tuple[Node | None, Node]:
    """(name, value) of ``name = value``; (None, node) of anything else. In ``x = a = b`` the value is the equation ``a = b``."""
    if node[0] != "rel" or not is_name(node[2][0]) or node[1][0] not in ("=", "~", "in", "=="):
        return None, node
    rest = node[2][1:]
    return node[2][0], rest[0] if len(rest) == 1 else ("rel", node[1][1:], rest)


def expand(node: Node) -> list[Node]:
    """The values that an expression with ``\\pm`` stands for: one or two (all signs move together)."""
    if not _has_sign(node):
        return [node]
    return [_with_sign(node, 1), _with_sign(node, -1)]


def _has_sign(node: object) -> bool:
    return isinstance(node, tuple) and ((bool(node) and node[0] == "pm") or any(_has_sign(item) for item in node))


def _with_sign(node: Node, sign: int) -> Node:
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "pm":
        plus = (sign > 0) == (node[1] == "\\pm")
        right = _with_sign(node[3], sign)
        return ("+", (_with_sign(node[2], sign), right if plus else ("neg", right)))
    return tuple(_with_sign(item, sign) for item in node)


def _items(node: Node) -> list[Node]:
    """Members of a comma list or a set, two for each ``\\pm``; a lone value is a list of one."""
    if node[0] == "seq" and node[1] in ("", "{"):
        return [value for item in node[3] for value in _items_of_equation(item)]
    return _items_of_equation(node)


def _items_of_equation(node: Node) -> list[Node]:
    name, value = split_name(node)
    if name is not None and value[0] == "seq" and value[1] == "{":
        return [("rel", ("=",), (name, item)) for item in _items(value)]
    if name is not None and value[0] != "rel":
        return [("rel", ("=",), (name, item)) for item in expand(value)]
    return expand(node)


def _infinite(node: Node) -> int:
    """1, -1 for plus and minus infinity, 0 for anything else."""
    if node == ("c", "oo"):
        return 1
    if node[0] == "neg":
        return -_infinite(node[1])
    return _infinite(node[1][1]) if node[0] == "+" and len(node[1]) == 2 and node[1][0] == ZERO else 0


def same(gold: Node, answer: Node) -> bool:
    """Whether the answer says what the reference says. Raises TooBig over a limit, NotExact where the trees have no common meaning."""
    if gold == answer:
        return _defined(gold)
    if gold[0] == "rel":
        return _same_relation(gold, answer)
    if answer[0] == "rel":
        return _same_as_value(gold, answer)
    if gold[0] == "setop":
        return _same_union(gold, answer)
    if _has_sign(gold) or _has_sign(answer):
        if gold[0] == "seq" and gold[1] in ("(", "["):
            return False
        return _same_unordered(_items(gold), _items(answer))
    if gold[0] == "seq":
        return _same_sequence(gold, answer)
    if answer[0] == "seq" and gold[0] != "mat":
        members = answer[3]
        return answer[1] in ("", "{") and len(members) == 1 and same(gold, members[0])
    if gold[0] == "mat" or answer[0] == "mat":
        return _same_matrix(gold, answer)
    if gold[0] == "base" or answer[0] == "base" or gold[0] == "text" or answer[0] == "text":
        return False  # unless identical, above
    if gold[0] == "ratio" or answer[0] == "ratio":
        return _same_ratio(gold, answer)
    return same_value(gold, answer)


def _defined(node: Node) -> bool:
    """False for an expression without a value, such as 0/0. Structures and symbols count as defined."""
    if node[0] in ("seq", "rel", "setop", "mat", "text", "base", "ratio", "s", "n", "pm"):
        return True
    try:
        exact(node)
    except Undefined:
        return False
    except (NotExact, TooBig):
        pass
    return True


def same_value(gold: Node, answer: Node) -> bool:
    """Equal values. A percent sign may be left out or added, and only where one stands does a factor of 100 count as equal."""
    signs = _infinite(gold), _infinite(answer)
    if any(signs):
        return signs[0] == signs[1]
    if gold[0] == "pct" or answer[0] == "pct":
        bare_gold, bare_answer = (node[1] if node[0] == "pct" else node for node in (gold, answer))
        return equal_values(bare_gold, bare_answer) or equal_values(gold, answer)
    return equal_values(gold, answer)


def _same_unordered(gold: list[Node], answer: list[Node]) -> bool:
    if len(gold) != len(answer):
        return False
    if len(gold) > MAX_ITEMS:
        raise TooBig("list too long")
    named = [sum(split_name(item)[0] is not None for item in side) for side in (gold, answer)]
    distinct = len({split_name(item)[0] for side in (gold, answer) for item in side}) > 2
    if 0 in named and max(named) > 1 and distinct:  # a = 4, b = 5 against 4, 5: only the order says which is which
        return all(same(split_name(g)[1], split_name(a)[1]) for g, a in zip(gold, answer, strict=True))
    left = list(answer)
    for item in gold:
        for index, candidate in enumerate(left):
            if _same_quietly(item, candidate):
                del left[index]
                break
        else:
            return False
    return True


def _same_quietly(gold: Node, answer: Node) -> bool:
    try:
        return same(gold, answer)
    except NotExact:
        return False


def _same_sequence(gold: Node, answer: Node) -> bool:
    if gold[1] == "" or gold[1] == "{":
        if answer[0] == "seq" and answer[1] == "(" and answer[2] == ")" and gold[1] == "":
            return len(gold[3]) == len(answer[3]) and all(map(_same_quietly, gold[3], answer[3]))
        if answer[0] == "seq" and answer[1] in ("(", "["):
            return False
        if answer[0] == "setop":
            return False
        gold_items, answer_items = _items(gold), _items(answer)
        if all(item[0] == "seq" for item in gold_items) or (gold[1] == "{" and answer[0] == "seq" and answer[1] == "{"):
            # Tuples in a list are the solutions of something, and naming one twice adds none; a number may be a double root.
            gold_items, answer_items = _unique(gold_items), _unique(answer_items)
        return _same_unordered(gold_items, answer_items)
    if answer[0] == "mat":
        return _same_matrix(answer, gold)
    if answer[0] != "seq" or len(answer[3]) != len(gold[3]):
        return False
    if answer[1] == "" and gold[1] == "(" and gold[2] == ")":  # the brackets of a tuple left out; those of an interval may not be
        return not any(_infinite(item) for item in gold[3]) and all(map(_same_quietly, gold[3], answer[3]))
    return gold[1:3] == answer[1:3] and all(map(_same_quietly, gold[3], answer[3]))


def _unique(items: list[Node]) -> list[Node]:
    if len(items) > MAX_ITEMS:
        raise TooBig("set too large")
    kept: list[Node] = []
    for item in items:
        if not any(_same_quietly(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_matrix(gold: Node, answer: Node) -> bool:
    if gold[0] != "mat":
        gold, answer = answer, gold
    if answer[0] == "seq":  # a vector written as a tuple
        if answer[1:3] != ("(", ")"):
            return False
        cells = [row[0] for row in gold[1]] if len(gold[1][0]) == 1 else list(gold[1][0]) if len(gold[1]) == 1 else []
        return len(cells) == len(answer[3]) and all(map(_same_quietly, cells, answer[3]))
    if answer[0] != "mat" or len(gold[1]) != len(answer[1]) or len(gold[1][0]) != len(answer[1][0]):
        return False
    return all(_same_quietly(g, a) for rows in zip(gold[1], answer[1], strict=True) for g, a in zip(*rows, strict=True))


def _same_ratio(gold: Node, answer: Node) -> bool:
    parts = [
        node[1] if node[0] == "ratio" else ((node[1], node[2]) if node[0] == "/" else (node, ("n", Fraction(1)))) for node in (gold, answer)
    ]
    if len(parts[0]) != len(parts[1]):
        return False
    first = [part[0] for part in parts]
    return all(equal_values(("*", (g, first[1])), ("*", (a, first[0]))) for g, a in zip(parts[0], parts[1], strict=True))


# Relations


def _same_relation(gold: Node, answer: Node) -> bool:
    name, value = split_name(gold)
    if name is not None:
        other, answered = split_name(answer)
        if other is None:
            if answer[0] != "rel":
                # The value alone says enough where the left side is what is asked for, as in x = 3; x + y = 3 is itself the answer.
                return name[0] != "+" and same(_last(value), answer)
            if set(answer[1]) == {"="} and gold[1] == ("=",) and _same_equation(gold, answer):
                return True
            return gold[1][0] == "in" and _same_interval(gold, answer)
        claim = _same_as_value if answered[0] == "rel" else _same_quietly
        if _compatible(name, other) and claim(_last(value), answered):
            return True
        return (gold[1] == ("=",) == answer[1] and not (name[0] == other[0] == "s") and _same_equation(gold, answer)) or (
            gold[1] == ("=",) == answer[1] and bool(symbols(value)) and _same_equation(gold, answer)
        )
    if answer[0] != "rel":
        return _same_interval(gold, answer)
    if set(gold[1]) == {"="} == set(answer[1]):
        return len(gold[1]) == len(answer[1]) == 1 and _same_equation(gold, answer)
    return _same_inequality(gold, answer) or _same_interval(gold, answer)


def _last(value: Node) -> Node:
    """Value of ``a = b = c``: the last part before an approximation."""
    if value[0] != "rel":
        return value
    exact_parts = [value[2][0]]
    for op, part in zip(value[1], value[2][1:], strict=True):
        if op == "~":
            break
        exact_parts.append(part)
    return exact_parts[-1]


def _compatible(name: Node, other: Node) -> bool:
    """Two plain symbols must be the same one (the line x = 5 is not the line y = 5); f(n) and f(x), words and groups may differ."""
    return not (name[0] == other[0] == "s") or name == other or "_" in name[1] or "_" in other[1]


def _same_as_value(gold: Node, answer: Node) -> bool:
    """The reference is a value, the answer a relation: ``x = v``, ``x \\in S``, a true equation, or an inequality for an interval."""
    name, value = split_name(answer)
    if name is not None:
        if value[0] != "rel":
            return same(gold, value)
        answer = value
    if set(answer[1]) <= {"=", "~"}:
        parts = [answer[2][0]]
        for op, part in zip(answer[1], answer[2][1:], strict=True):
            if op == "~":
                break
            parts.append(part)
        return all(_same_quietly(gold, part) for part in parts)
    return _same_interval(gold, answer)


def _same_equation(gold: Node, answer: Node) -> bool:
    """Same solutions: the differences of the sides are proportional."""
    sides = [("+", (node[2][0], ("neg", node[2][1]))) for node in (gold, answer)]
    return _proportional(sides[0], sides[1], positive=False)


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
        if not ratios or len(ratios) < 3:
            return False
    except Undefined:
        return False
    if any(abs(ratio - ratios[0]) > abs(ratios[0]) * 1e-25 for ratio in ratios):
        return False
    return not positive or (getattr(ratios[0], "imag", 0) == 0 and ratios[0].real > 0)


def _oriented(node: Node) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    ops, parts = node[1], node[2]
    if ops[0] in (">", ">="):
        return tuple(_FLIP.get(op, op) for op in reversed(ops)), tuple(reversed(parts))
    return ops, parts


def _same_inequality(gold: Node, answer: Node) -> bool:
    (gold_ops, gold_parts), (ops, parts) = _oriented(gold), _oriented(answer)
    if gold_ops != ops:
        return False
    if all(map(_same_quietly, gold_parts, parts)):
        return True
    if len(ops) != 1 or ops[0] not in ("<", "<=", "!="):
        return False
    sides = [("+", (side[0], ("neg", side[1]))) for side in (gold_parts, parts)]
    return _proportional(sides[0], sides[1], positive=ops[0] != "!=")


def interval_of(node: Node) -> list[Node] | None:
    """Intervals that a set, an inequality in one name, or a list of those stands for; None where it stands for none."""
    if node[0] == "setop" and node[1] == "\\cup":
        found = [interval_of(item) for item in node[2]]
        return None if None in found else [piece for pieces in found for piece in pieces or ()]
    if node[0] == "seq":
        if node[1] == "" and all(item[0] == "rel" for item in node[3]):
            found = [interval_of(item) for item in node[3]]
            return None if None in found else [piece for pieces in found for piece in pieces or ()]
        return [node] if node[1] in ("(", "[") and len(node[3]) == 2 else None
    if node[0] != "rel":
        return None
    if node[1] == ("in",):
        return interval_of(node[2][1]) if is_name(node[2][0]) else None
    ops, parts = _oriented(node)
    infinity: Node = ("c", "oo")
    if ops == ("!=",) and is_name(parts[0]) and not symbols(parts[1]):  # all but one
        return [("seq", "(", ")", (("neg", infinity), parts[1])), ("seq", "(", ")", (parts[1], infinity))]
    if not set(ops) <= {"<", "<="}:
        return None
    if len(ops) == 2 and is_name(parts[1]) and not symbols(parts[0]) & symbols(parts[1]):
        return [("seq", "[" if ops[0] == "<=" else "(", "]" if ops[1] == "<=" else ")", (parts[0], parts[2]))]
    if len(ops) == 1 and is_name(parts[0]) and not is_name(parts[1]):
        return [("seq", "(", "]" if ops[0] == "<=" else ")", (("neg", infinity), parts[1]))]
    if len(ops) == 1 and is_name(parts[1]) and not is_name(parts[0]):
        return [("seq", "[" if ops[0] == "<=" else "(", ")", (parts[0], infinity))]
    return None


def _same_interval(gold: Node, answer: Node) -> bool:
    left, right = interval_of(gold), interval_of(answer)
    return left is not None and right is not None and _same_pieces(left, right)


def _same_pieces(left: list[Node], right: list[Node]) -> bool:
    return _same_unordered(left, right)


def _same_union(gold: Node, answer: Node) -> bool:
    left, right = interval_of(gold), interval_of(answer)
    if left is not None and right is not None:
        return _same_pieces(left, right)
    if answer[0] != "setop" or gold[1] != answer[1] or len(gold[2]) != len(answer[2]):
        return False
    if gold[1] == "\\setminus" or gold[1] == "\\backslash":
        return all(map(_same_quietly, gold[2], answer[2]))
    return _same_unordered(list(gold[2]), list(answer[2]))


def within(gold: Node, answer: Node, tolerance: float) -> bool:
    """Numeric golds with a stated relative tolerance; lists member by member, in order."""
    if gold[0] == "seq":
        if answer[0] != "seq" or len(gold[3]) != len(answer[3]):
            return False
        return all(within(g, a, tolerance) for g, a in zip(gold[3], answer[3], strict=True))
    if answer[0] == "rel":
        parts = [part for part in answer[2] if not is_name(part)]
        return bool(parts) and within(gold, parts[-1], tolerance)
    if gold[0] == "pct" and answer[0] != "pct":
        return within(gold[1], answer, tolerance) or within(("/", gold[1], ("n", Fraction(100))), answer, tolerance)
    if answer[0] == "pct" and gold[0] != "pct":
        return within(gold, answer[1], tolerance) or within(gold, ("/", answer[1], ("n", Fraction(100))), tolerance)
    want, got = real_value(gold), real_value(answer)
    if want is None or got is None:
        return False
    return abs(want - got) <= tolerance * abs(want)
