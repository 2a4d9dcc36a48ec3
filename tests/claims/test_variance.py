"""Variance components: exact identities, the textbook's formulas, and simulated tables of known components."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.claims.variance import components
from tests.claims.strategies import RELAXED

TRUE = {"seed": 4.0, "question": 900.0, "seed x question": 100.0, "decoding": 1600.0}
VERIFIER = {
    "verifier": 1.0,
    "verifier x seed": 0.5,
    "verifier x question": 9.0,
    "verifier x seed x question": 4.0,
    "verifier x decoding": 25.0,
}
AXES = {"seed": (0,), "question": (1,), "decoding": (0, 1, 2), "verifier": (3,)}


def drawn(rng: np.random.Generator, shape: tuple[int, ...], variances: dict[str, float]) -> np.ndarray:
    """A table of normal effects, as shares (points over 100)."""
    table = np.full(shape, 50.0)
    for effect, variance in variances.items():
        axes = {axis for part in effect.split(" x ") for axis in AXES[part]}
        size = [n if i in axes else 1 for i, n in enumerate(shape)]
        table = table + rng.normal(0, math.sqrt(variance), size)
    return table / 100


@pytest.mark.parametrize(
    ("shape", "true", "rounds"), [((5, 40, 4), TRUE, 400), ((4, 20, 3, 3), TRUE | VERIFIER, 600)], ids=["three axes", "with verifiers"]
)
def test_estimates_are_unbiased(shape, true, rounds):
    rng = np.random.default_rng(1)
    found = [components(drawn(rng, shape, true)).variances for _ in range(rounds)]
    assert set(found[0]) == set(true)
    for effect, variance in true.items():
        values = np.array([f[effect] for f in found])
        assert values.mean() == pytest.approx(variance, abs=4 * values.std(ddof=1) / math.sqrt(rounds)), effect
        assert values.std() > 0


def test_a_source_left_out_would_be_seen():
    """The check above fails where the model is wrong: without the seed's effect in the table, its estimate is not the seed's variance."""
    rng = np.random.default_rng(2)
    values = np.array([components(drawn(rng, (5, 40, 4), TRUE | {"seed": 0.0})).variances["seed"] for _ in range(400)])
    assert abs(values.mean() - TRUE["seed"]) > 4 * values.std(ddof=1) / 20


def test_the_textbook_formulas():
    scores = np.random.default_rng(3).random((3, 6, 4)) < 0.6
    y = 100.0 * scores
    cell, seed, question, grand = y.mean(axis=2), y.mean(axis=(1, 2)), y.mean(axis=(0, 2)), y.mean()
    e = ((y - cell[..., None]) ** 2).sum() / (3 * 6 * 3)
    sq = 4 * ((cell - seed[:, None] - question + grand) ** 2).sum() / (2 * 5)
    s, q = 24 * ((seed - grand) ** 2).sum() / 2, 12 * ((question - grand) ** 2).sum() / 5
    found = components(scores).variances
    assert found == pytest.approx({"decoding": e, "seed x question": (sq - e) / 4, "question": (q - sq) / 12, "seed": (s - sq) / 24})


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 6), st.integers(2, 4), st.integers(1, 3))
@RELAXED
def test_identities_of_any_table(entropy, seeds, questions, samples, verifiers):
    scores = np.random.default_rng(entropy).random((seeds, questions, samples, verifiers)) < 0.5
    found = components(scores)
    # The sums of squares are those of the whole table, and the degrees of freedom its scores less one.
    total = sum(found.mean_squares[name] * found.freedom[name] for name in found.variances)
    assert total == pytest.approx(((100 * scores - 100 * scores.mean()) ** 2).sum(), abs=1e-6)
    assert sum(found.freedom.values()) == scores.size - 1
    # Order of seeds, questions, samples and verifiers means nothing.
    assert components(scores[::-1, ::-1, ::-1, ::-1]).variances == pytest.approx(found.variances, abs=1e-6)
    # What the three sources of a rerun give to its accuracy is what the seeds' means show.
    one = components(scores[..., 0])
    rerun = sum(one.variances[n] / d for n, d in (("seed", 1), ("seed x question", questions), ("decoding", questions * samples)))
    assert rerun == pytest.approx((100 * scores[..., 0]).mean(axis=(1, 2)).var(ddof=1), abs=1e-6)


def test_equal_verifiers_and_equal_seeds_have_no_component():
    rng = np.random.default_rng(4)
    scores = rng.random((4, 30, 3)) < rng.random((1, 30, 1))
    twice = components(np.stack([scores, scores], axis=3))
    assert all(twice.variances[name] == pytest.approx(0, abs=1e-9) for name in twice.variances if name.startswith("verifier"))
    assert twice.verifier() == pytest.approx((0, 0), abs=1e-6)
    same = components(np.broadcast_to(scores[:1], scores.shape))
    assert same.variances["seed"] <= 0 and same.in_mean("seed") == 0


def test_axes_of_one_level_have_no_component():
    rng = np.random.default_rng(5)
    assert set(components(rng.random((1, 10, 4)) < 0.5).variances) == {"question", "decoding"}
    assert set(components(rng.random((3, 10, 1)) < 0.5).variances) == {"seed", "question", "seed x question"}
    assert math.isnan(components(rng.random((3, 10, 4)) < 0.5).verifier()[0])
    assert math.isnan(components(np.ones((3, 10, 4))).share("seed"))


def test_interval_of_the_seed_covers():
    rng, rounds = np.random.default_rng(6), 600
    inside = 0
    for _ in range(rounds):
        low, high = components(drawn(rng, (5, 40, 4), TRUE)).seed_interval()
        inside += low <= math.sqrt(TRUE["seed"]) <= high
    assert inside / rounds >= 0.95 - 3.1 * math.sqrt(0.05 * 0.95 / rounds)
    assert inside < rounds  # it is an interval, not everything


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((3, 4)), "expected .seeds, questions, samples"),
        (np.full((2, 2, 2), np.nan), "8 missing"),
        (np.zeros((1, 1, 1)), "two or more"),
    ],
)
def test_bad_tables_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        components(scores)
