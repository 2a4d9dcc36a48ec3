"""A thousand and more pairs of reference and answer, as models write them: what is the same, and near misses that are not.

The pairs stand in ``equal.txt`` and ``different.txt``; a rule that makes one of them wrong is a rule to reconsider.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.verifiers import GoldError, Verifier


def pairs(name: str) -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" || ")) for line in lines if not line.startswith("#")]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(deadline=30) as found:  # a busy machine must not decide what is equal
        yield found


def boxed(verifier: Verifier, gold: str, answer: str) -> bool:
    return verifier.verify(gold, f"So the answer is $\\boxed{{{answer}}}$.").correct


def test_the_same_answer(verifier) -> None:
    assert not [pair for pair in pairs("equal") if not boxed(verifier, *pair)]


def test_a_near_miss(verifier) -> None:
    assert not [pair for pair in pairs("different") if boxed(verifier, *pair)]


def test_a_near_miss_the_other_way_round(verifier) -> None:
    """No rule may be right only because of which side the reference is on."""
    equal = []
    for gold, answer in pairs("different"):
        try:
            if boxed(verifier, answer, gold):
                equal.append((answer, gold))
        except GoldError:  # no reference: "?", an empty text
            continue
    assert not equal


def test_a_reference_equals_itself(verifier) -> None:
    assert not [gold for gold in {gold for name in ("equal", "different") for gold, _ in pairs(name)} if not boxed(verifier, gold, gold)]
