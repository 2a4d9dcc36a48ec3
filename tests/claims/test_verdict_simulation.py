"""Families of claims with known truth through the engine's own judgement: how often any verdict of a family is wrong.

Directional and equivalence claims share a family and its Holm correction, and a verdict can be wrong in several ways ("reproduced" without an
effect, "not reproduced" with one of the margin's size, "contradicted" with one inside it); together they must stay within the family's level.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from repro.claims import engine, power
from repro.claims.declared import Claim, Registration
from repro.claims.engine import Result
from repro.claims.intervals import contrast

pytestmark = pytest.mark.slow
MARGIN, SEEDS, SD, ROUNDS = 2.0, 5, 1.5, 800


def claim(number: int, direction: str) -> Claim:
    return Claim(
        id=f"X{number}",
        section="0",
        statement="made up",
        experiment="none",
        family="X",
        arms={"a": ({}, "rl"), "b": ({}, "rl")},
        contrast={"a": 1, "b": -1},
        metric={"kind": "curve", "column": "x", "summary": "final", "window": 0.1, "unit": "raw"},
        test="welch",
        direction=direction,
        margin=MARGIN,
        margin_reason="made up",
        min_seeds=SEEDS,
        scale="mechanism",
        published={"effect": None, "tag": "P", "source": "made up"},
    )


def wrong(verdict: str, truth: float, direction: str) -> bool:
    if direction == "none":
        return (verdict == "reproduced" and abs(truth) >= MARGIN) or (verdict == "contradicted" and abs(truth) <= MARGIN)
    shown = verdict.startswith("reproduced") and truth <= 0
    return shown or (verdict == "contradicted" and truth >= 0) or (verdict == "not reproduced" and truth >= MARGIN)


@pytest.mark.parametrize(
    "family",
    [
        [("increase", 0.0)] * 4,
        [("increase", 0.0), ("increase", 0.0), ("increase", 6.0), ("increase", 6.0)],
        [("none", MARGIN), ("none", MARGIN), ("none", -MARGIN), ("none", MARGIN)],
        [("none", 0.0), ("none", MARGIN), ("increase", 0.0), ("increase", MARGIN)],
        [("increase", MARGIN)] * 4,
    ],
    ids=["no effects", "half real", "none at the margin", "mixed", "at the margin"],
)
def test_a_family_seldom_holds_a_wrong_verdict(family: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "minimum_detectable_effect", lambda *_, **__: 1.0)  # only reported, and most of the time
    rng, claims, errors = np.random.default_rng(21), [claim(i, direction) for i, (direction, _) in enumerate(family)], 0
    for _ in range(ROUNDS):
        results = []
        for one, (_, truth) in zip(claims, family, strict=True):
            arms = [rng.normal(50 + truth, SD, SEEDS).tolist(), rng.normal(50, SD, SEEDS).tolist()]
            values = {name: dict(enumerate(arm)) for name, arm in zip(one.arms, arms, strict=True)}
            result = Result(one, "micro", Registration("", ""), values=values, groups=(arms, [1.0, -1.0]), seeds=SEEDS)
            result.estimate = contrast(*result.groups)
            results.append(result)
        engine._judge(results)
        errors += any(wrong(r.verdict.name, truth, direction) for r, (direction, truth) in zip(results, family, strict=True))
    allowed = engine.ALPHA + stats.norm.isf(0.001) * np.sqrt(engine.ALPHA * (1 - engine.ALPHA) / ROUNDS)
    assert errors / ROUNDS <= allowed
