"""The paper's Tables 4 and 5 as records with a stated spread: verdicts that follow from margins and spreads, and no others."""

import numpy as np
import pytest

from repro.claims import declared, engine, example


def names(spread: float, seeds: int = 5) -> dict[str, str]:
    return {result.claim.id: result.verdict.name for result in example.judged(spread, seeds)}


def test_published_cells_give_the_published_effects():
    """The printed cells and the claim files, written at different times, agree on every effect."""
    for result in example.judged(1.0, 5):
        assert result.estimate.value == pytest.approx(result.claim.published["effect"], abs=0.011), result.claim.id
        assert set(example.PRINTED[result.claim.id]) == set(result.claim.arms)


def test_small_spread_reproduces_and_large_spread_cannot_tell():
    assert set(names(0.3).values()) == {"reproduced"}
    far = names(4.0)
    assert far["H6.4b"] == far["H4.6b"] == "inconclusive"  # gaps of 2 points among runs 4 points apart
    assert far["H4.6a"] == "reproduced"  # 10 points from end to end


def test_more_seeds_make_up_for_spread():
    assert names(2.0, 5)["H4.6b"] == "inconclusive" and names(2.0, 60)["H4.6b"] == "reproduced"


def test_swapped_cells_are_contradicted(monkeypatch):
    swapped = {"sft_rl": 77.4, "rl": 85.9}
    monkeypatch.setitem(example.PRINTED, "H6.4a", swapped)
    assert names(1.0)["H6.4a"] == "contradicted"


def test_runs_have_the_stated_mean_and_spread():
    values = np.array(list(example.runs(57.8, 1.5, 7, np.random.default_rng(0)).values()))
    assert values.mean() == pytest.approx(57.8) and values.std(ddof=1) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="2 or more seeds"):
        example.runs(50.0, 1.0, 1, np.random.default_rng(0))


def test_the_committed_table_is_this_one():
    from repro.report.readme import RESULTS

    assert (RESULTS / "published_example.md").read_text() == example.table() + "\n", "run python -m repro.claims.example --write"


def test_other_members_of_a_family_count():
    families = {c.family for c in declared.load() if c.id in example.PRINTED}
    sizes = {family: sum(c.family == family for c in declared.load()) for family in families}
    for result in example.judged(1.0, 5):
        assert result.interval.level >= 1 - engine.ALPHA - 1e-12
        assert result.p_holm <= min(1.0, sizes[result.claim.family] * result.p) + 1e-12
