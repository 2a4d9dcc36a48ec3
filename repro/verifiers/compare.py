"""Comparison of two trees; the reference decides what kind of thing is compared and which rules hold.

Order matters in tuples, not in comma lists and sets; brackets matter; a name in front (``x = 5``) is optional, a number in front
(``6 = 5``) is a claim that must be true; inequalities and intervals say the same thing (``repro/verifiers/regions.py``); ``a \\pm b`` is
two values; a base stays.

    >>> from repro.verifiers.compare import same
    >>> from repro.verifiers.parser import parse
    >>> same(parse("[0,9)"), parse("0<=x<9")), same(parse("5"), parse("6=5"))
    (True, False)
"""

from __future__ import annotations

from fractions import Fraction

from repro.verifiers.equations import same_equation, same_inequality
from repro.verifiers.evaluate import equal_values, real_value, symbols
from repro.verifiers.exact import NotExact, Undefined, exact
from repro.verifiers.regions import is_region, oriented, same_region
from repro.verifiers.shapes import compatible, exact_parts, fold, has_sign, infinite, is_name, members, replaced, split_name
from repro.verifiers.tokens import Node, TooBig

MAX_ITEMS = 60  # of a list compared without order; matching is quadratic


def same(gold: Node, answer: Node) -> bool:
    """Whether the answer says what the reference says. Raises TooBig over a limit, NotExact where the trees have no common meaning."""
    if gold == answer:
        return _defined(gold)
    if is_region(gold) or is_region(answer):
        verdict = same_region(gold, answer)
        if verdict is not None:
            return verdict
    if gold[0] == "rel":
        return _same_relation(gold, answer)
    if answer[0] == "rel":
        return _same_as_value(gold, answer)
    if gold[0] == "setop":
        return _same_operation(gold, answer)
    gold, answer = fold(gold), fold(answer)
    if gold[0] == "mod" or answer[0] == "mod":
        return gold[0] == answer[0] and _same_residue(gold, answer)
    if has_sign(gold) or has_sign(answer):
        if gold[0] == "seq" and gold[1] in ("(", "["):
            return False
        return _same_unordered(members(gold), members(answer))
    if gold[0] == "seq":
        return _same_sequence(gold, answer)
    if answer[0] == "seq" and gold[0] != "mat":
        return answer[1] in ("", "{") and len(answer[3]) == 1 and same(gold, answer[3][0])
    if gold[0] == "mat" or answer[0] == "mat":
        return _same_matrix(gold, answer)
    if gold[0] == "base" or answer[0] == "base" or gold[0] == "text" or answer[0] == "text":
        return False  # unless identical, above
    if gold[0] == "ratio" or answer[0] == "ratio":
        return _same_ratio(gold, answer)
    return same_value(gold, answer)


def _defined(node: Node) -> bool:
    """False for an expression without a value, such as 0/0. Structures and symbols count as defined."""
    if node[0] in ("seq", "rel", "setop", "mat", "text", "base", "ratio", "s", "n", "pm", "mod"):
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
    signs = infinite(gold), infinite(answer)
    if any(signs):
        return signs[0] == signs[1]
    if gold[0] == "pct" or answer[0] == "pct":
        bare_gold, bare_answer = (node[1] if node[0] == "pct" else node for node in (gold, answer))
        return equal_values(bare_gold, bare_answer) or equal_values(gold, answer)
    return equal_values(gold, answer)


def _same_residue(gold: Node, answer: Node) -> bool:
    """``8 \\pmod 5`` is ``3 \\pmod 5``."""
    if not equal_values(gold[2], answer[2]):
        return False
    try:
        return not exact(gold[2]) or (exact(gold[1]) - exact(answer[1])) % exact(gold[2]) == 0
    except NotExact:
        return equal_values(gold[1], answer[1])


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
    if gold[1:3] == ("[", "]") and len(gold[3]) > 2:  # no interval: a tuple or, in an answer, a list, as programs write them
        gold = ("seq", "(", ")", gold[3])
    if answer[0] == "seq" and answer[1:3] == ("[", "]") and len(answer[3]) > 2:
        answer = ("seq", gold[1], gold[2], answer[3])
    if gold[1] == "" or gold[1] == "{":
        if answer[0] == "seq" and answer[1:3] == ("(", ")") and gold[1] == "":
            return len(gold[3]) == len(answer[3]) and all(map(_same_quietly, gold[3], answer[3]))
        if answer[0] == "setop" or (answer[0] == "seq" and answer[1] in ("(", "[")):
            return False
        gold_items, answer_items = members(gold), members(answer)
        if all(item[0] == "seq" for item in gold_items) or (gold[1] == "{" and answer[0] == "seq" and answer[1] == "{"):
            # Tuples in a list are the solutions of something, and naming one twice adds none; a number may be a double root.
            gold_items, answer_items = _unique(gold_items), _unique(answer_items)
        return _same_unordered(gold_items, answer_items)
    if answer[0] == "mat":
        return _same_matrix(answer, gold)
    if answer[0] != "seq" or len(answer[3]) != len(gold[3]):
        return False
    if answer[1] == "" and gold[1:3] == ("(", ")"):  # the brackets of a tuple left out; those of an interval may not be
        return not any(infinite(item) for item in gold[3]) and all(map(_same_quietly, gold[3], answer[3]))
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
    if name is None:
        if set(gold[1]) <= {"=", "~"} and not symbols(gold):  # 7/12 = 0.583 or so: a value, said twice
            return all(_same_quietly(part, answer) for part in exact_parts(gold))
        if answer[0] != "rel":
            return False
        if set(gold[1]) == {"="} == set(answer[1]):
            return len(gold[1]) == len(answer[1]) == 1 and same_equation(gold, answer)
        return _same_sides(gold, answer) or same_inequality(gold, answer)
    other, answered = split_name(answer)
    equations = gold[1] == ("=",) == answer[1] if answer[0] == "rel" else False
    if other is None:
        if answer[0] != "rel":
            # The value alone says enough where the left side is what is asked for, as in x = 3; x + y = 3 is itself the answer.
            return name[0] != "+" and same(_last(value), answer)
        return equations and same_equation(gold, answer)
    claim = _same_as_value if answered[0] == "rel" else _same_quietly
    if compatible(name, other) and claim(_last(value), _renamed(other, name, answered)):
        return True
    return equations and (bool(symbols(value)) or not (name[0] == other[0] == "s")) and same_equation(gold, answer)


def _renamed(other: Node, name: Node, value: Node) -> Node:
    """The value of ``f(t)`` written for ``f(x)``."""
    if not (name[0] == other[0] == "f" and name[1] == other[1] and len(name[2]) == len(other[2])):
        return value
    if any(part[0] != "s" for part in (*name[2], *other[2])):
        return value
    names = {part: ("s", f"another {part[1]}") for part in name[2]} | dict(zip(other[2], name[2], strict=True))
    return replaced(value, names.get)


def _last(value: Node) -> Node:
    """Value of ``a = b = c``: the last part before an approximation."""
    return exact_parts(value)[-1] if value[0] == "rel" else value


def _same_as_value(gold: Node, answer: Node) -> bool:
    """The reference is a value, the answer a relation: ``x = v``, ``x \\in S`` or a true equation."""
    name, value = split_name(answer)
    if name is not None:
        if value[0] != "rel":
            return same(gold, value)
        answer = value
    return set(answer[1]) <= {"=", "~"} and all(_same_quietly(gold, part) for part in exact_parts(answer))


def _same_sides(gold: Node, answer: Node) -> bool:
    """Inequalities with the same signs between the same values."""
    (gold_ops, gold_parts), (ops, parts) = oriented(gold), oriented(answer)
    return gold_ops == ops and all(map(_same_quietly, gold_parts, parts))


def _same_operation(gold: Node, answer: Node) -> bool:
    """Unions, intersections and differences of sets that are no sets of real numbers."""
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
