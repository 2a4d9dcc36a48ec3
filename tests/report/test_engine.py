"""The engine on studies with known effects: every verdict, every guard, and what it refuses to read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repro.claims import declared, engine
from repro.claims.engine import Result
from repro.claims.group import BENCHMARKS, RecordError
from repro.claims.records import Records
from repro.report import summary
from repro.report.table import leaderboard
from tests.report import study

CURVE = {"kind": "curve", "column": "kl", "summary": "final", "window": 0.1, "unit": "raw"}


def judged(root: Path, **changes) -> Result:
    path = study.claim(root / "claims", **changes)
    return engine.evaluate([declared.read(path)], Records.load([root / "sweeps"]))[0]


@pytest.mark.parametrize(
    ("effect", "spread", "verdict"),
    [
        (8.0, 1.0, "reproduced"),
        (2.0, 0.3, "reproduced smaller"),
        (0.0, 0.5, "not reproduced"),
        (-8.0, 1.0, "contradicted"),
        (2.0, 6.0, "inconclusive"),
    ],
)
def test_known_effects_get_their_verdict(tmp_path: Path, effect: float, spread: float, verdict: str) -> None:
    found = judged(study.pair(tmp_path, effect, spread=spread))
    assert found.verdict.name == verdict, found.verdict
    assert found.verdict.proxy and found.seeds == 5
    assert (found.interval.low <= effect <= found.interval.high) or verdict == "inconclusive"


def test_pairing_linked_gains_equivalence_and_curves(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    assert judged(tmp_path, test="paired").verdict.name == "reproduced"
    assert judged(tmp_path, direction="none", margin=20.0).verdict.name == "reproduced"
    assert judged(tmp_path, direction="none").verdict.name == "contradicted"
    arms = {"after": {"reward.name": "cosine", "stage": "rl"}, "before": {"sft.name": "long", "stage": "sft"}}
    gain = judged(tmp_path, test="paired", arms=arms, contrast={"after": 1, "before": -1})
    assert gain.verdict.name == "reproduced" and 15 < gain.estimate.value < 21
    base = judged(tmp_path, test="paired", arms={**arms, "before": {"stage": "base"}}, contrast={"after": 1, "before": -1})
    assert base.verdict.name == "reproduced" and 45 < base.estimate.value < 51, "the base is a constant, not five equal seeds"
    metric = {"kind": "curve", "column": "accuracy", "summary": "change", "window": 0.05, "unit": "share"}
    rise = judged(
        tmp_path, test="one_sample", metric=metric, arms={"cosine": {"reward.name": "cosine", "stage": "rl"}}, contrast={"cosine": 1}
    )
    assert rise.verdict.name == "reproduced" and rise.estimate.value == pytest.approx(38, abs=2)


def shares(root: Path, **of: float) -> Path:
    """Five seeds of each reward that all score alike: ``classic=0.5``."""
    for reward, share in of.items():
        for seed in range(5):
            study.write(root, study.config(reward, seed), {"rl": share}, np.linspace(0.3, share, study.STEPS))
    return root


def test_arms_that_all_solve_the_benchmark_are_not_tested(tmp_path: Path) -> None:
    found = judged(shares(tmp_path, classic=1.0, cosine=1.0))
    assert found.verdict.name == "not tested" and "every seed of cosine, classic has 100: nothing that could differ" in found.verdict.reason


def test_seeds_that_all_agree_still_show_a_large_difference(tmp_path: Path) -> None:
    """0 of 200 samples wrong in every seed is no spread that a t interval could be made of, and 50 points are no accident."""
    found = judged(shares(tmp_path, classic=0.5, cosine=1.0))
    assert found.verdict.name == "reproduced" and found.estimate.value == 50
    assert found.estimate.standard_error == pytest.approx(0.5 * np.sqrt(2 / 5))  # a sample of 200 is half a point
    few = judged(tmp_path, margin=60.0)
    assert few.verdict.name == "reproduced smaller" and "classic is at 50.0, which leaves 50.0 of room" in few.verdict.reason


def test_a_rearrangement_test_stands_beside_the_t_test(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    found = judged(tmp_path).free
    assert found.p == pytest.approx(2 / 252) and found.method == "permutation, exact" and found.improvement[0] == 1
    assert judged(tmp_path, direction="decrease").free.improvement[0] == 0
    assert judged(tmp_path, test="paired").free.p == pytest.approx(2 / 32)
    assert judged(tmp_path, direction="none").free is None
    arms = {"after": {"reward.name": "cosine", "stage": "rl"}, "before": {"sft.name": "long", "stage": "sft"}}
    gains = {**arms, "b": {"reward.name": "classic", "stage": "rl"}, "c": {"sft.name": "long", "stage": "sft"}}
    linked = judged(tmp_path, test="interaction", arms=gains, contrast={"after": 1, "before": -1, "b": -1, "c": 1})
    assert linked.free.p == pytest.approx(2 / 252) and linked.free.improvement is None
    order = {"cosine": {"reward.name": "cosine", "stage": "rl"}, "classic": {"reward.name": "classic", "stage": "rl"}}
    trend = judged(tmp_path, test="trend", arms=order, contrast={"cosine": 1, "classic": 0}).free
    assert trend.method.startswith("jonckheere") and trend.p == pytest.approx(2 / 252)


def test_holm_counts_the_untested_members(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    study.claim(tmp_path / "claims")
    study.claim(
        tmp_path / "claims", id="X2", arms={"cosine": {"reward.name": "a", "stage": "rl"}, "classic": {"reward.name": "b", "stage": "rl"}}
    )
    tested, untested = engine.evaluate(declared.load(tmp_path / "claims"), Records.load([tmp_path]))
    assert tested.p_holm == pytest.approx(2 * tested.p) and tested.interval.level == pytest.approx(0.975)
    assert untested.verdict.name == "not tested" and "no records of cosine, classic" in untested.verdict.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": 1}, "needs 5 training seeds"),
        ({"eval__temperature": 1.0}, "eval.temperature"),
        ({"rl__steps": 40}, "rl.steps"),
        ({"data__seed": 1}, "data.seed"),
    ],
)
def test_arms_that_cannot_be_compared_are_not_tested(tmp_path: Path, changes: dict, reason: str) -> None:
    study.pair(tmp_path, 8.0, seeds=changes.get("seeds", 5))
    if "seeds" not in changes:  # cosine again, made otherwise, in place of the comparable one
        for path in (tmp_path / "sweeps").rglob("cell.json"):
            facts = json.loads(path.read_text())
            if facts["config"]["reward"]["name"] == "cosine":
                facts["config"] = study.config("cosine", facts["seed"], **changes)
                path.write_text(json.dumps(facts))
    found = judged(tmp_path)
    assert found.verdict.name == "not tested" and reason in found.verdict.reason


def rewrite(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_missing_samples_are_not_tested(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    rewrite(next((tmp_path / "sweeps").rglob("records.parquet")), lambda table: table.slice(0, table.num_rows - 1))
    found = judged(tmp_path)
    assert found.verdict.name == "not tested" and "without exactly 4 samples" in found.verdict.reason


def test_the_papers_scale_asks_for_decontamination_and_proxies_for_no_magnitude(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    assert "below the paper's scale" in judged(tmp_path, scale="magnitude").verdict.reason
    for path in (tmp_path / "sweeps").rglob("cell.json"):
        facts = json.loads(path.read_text())
        facts["config"]["scale"] = "paper"
        path.write_text(json.dumps(facts))
    for path in (tmp_path / "sweeps").rglob("records.parquet"):
        rewrite(path, lambda table: table.set_column(5, "benchmark", pa.array(["math500"] * table.num_rows)))
    found = judged(tmp_path, scale="magnitude", published={"effect": 8.0, "tag": "D", "source": "made up"})
    assert found.verdict.reason.startswith("decontamination was not run") and not found.verdict.proxy
    found.reasons.clear()
    engine._judge([found])
    assert found.verdict.name == "reproduced" and "published 8.0 is as expected of a rerun" in found.verdict.reason


def test_two_configurations_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    study.pair(tmp_path, -8.0, rl__steps=40)
    assert "2 configurations" in judged(tmp_path).verdict.reason
    one = {"reward.name": "cosine", "rl.steps": 20, "stage": "rl"}
    assert judged(tmp_path, arms={"cosine": one, "classic": {**one, "reward.name": "classic"}}).verdict.name == "reproduced"


def test_metric_that_was_not_logged_is_named(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    metric = {"kind": "curve", "column": "kl", "summary": "final", "window": 0.1, "unit": "raw"}
    assert "logged no kl" in judged(tmp_path, metric=metric).verdict.reason


def test_nan_in_a_curve_is_named(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    path = next((tmp_path / "store").rglob("metrics.parquet"))
    rewrite(path, lambda table: table.set_column(1, "accuracy", pa.array(np.full(study.STEPS, np.nan))))
    metric = {"kind": "curve", "column": "accuracy", "summary": "final", "window": 0.1, "unit": "share"}
    assert "NaN" in judged(tmp_path, metric=metric).verdict.reason


def test_every_claim_file_of_the_project_loads() -> None:
    claims = declared.load()
    assert len(claims) >= 40 and {"3.2", "4.2", "4.5", "6.1", "7.3"} <= {claim.section for claim in claims}
    for claim in claims:
        assert claim.id.startswith(f"H{claim.section}") and claim.family == f"H{claim.section}"
        assert claim.published["tag"] in ("P", "D") and claim.published["source"] and claim.min_seeds >= 5
        assert claim.path.read_text().startswith(f"# {claim.id}, paper section {claim.section}.")
        effect = claim.published["effect"]
        if effect is not None:  # the sign the paper claims
            assert (effect > 0) == (claim.direction == "increase")


def test_metrics_of_claims_are_metrics_of_the_code() -> None:
    """A column that no RL stage logs would leave its claim untested for ever."""
    from repro.rl import metrics

    for claim in declared.load():
        for column in filter(None, (claim.metric.get("column"), claim.metric.get("beside"))):
            base = column.removesuffix("_per_1k")
            known = base in metrics.__doc__ or base.split("/")[0] in ("keyword", "length", "repetition")
            assert known, f"{claim.id}: {column}"
        for role in claim.metric.get("benchmarks", []):
            from evals.benchmarks import BENCHMARKS as known

            assert set(BENCHMARKS[role].values()) <= set(known)


def at_paper_scale(root: Path, **facts) -> None:
    """The made-up study as one of MATH-500, with ``facts`` in every cell.json."""
    for path in (root / "sweeps").rglob("cell.json"):
        cell = json.loads(path.read_text()) | facts
        cell["config"]["scale"] = "paper"
        path.write_text(json.dumps(cell))
    for path in (root / "sweeps").rglob("records.parquet"):
        rewrite(path, lambda table: table.set_column(5, "benchmark", pa.array(["math500"] * table.num_rows)))


def test_a_recorded_contamination_check_lets_a_claim_be_tested(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    at_paper_scale(tmp_path, contamination={"math500": {"method": "13-grams, none shared"}})
    assert judged(tmp_path).verdict.name == "reproduced"
    path = next((tmp_path / "sweeps").rglob("cell.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"contamination": {"aime2024": {"method": "13-grams"}}}))
    assert "decontamination was not run" in judged(tmp_path).verdict.reason, "one cell that does not say so is enough"


def test_the_micro_world_is_recorded_as_disjoint(tmp_path: Path) -> None:
    records = Records.load([study.pair(tmp_path, 8.0)])
    assert {group.decontaminated("micro_math") for group in records.groups.values()} == {"disjoint by construction"}
    assert {group.decontaminated("math500") for group in records.groups.values()} == {""}


def test_one_seed_and_slips_of_the_pen_say_what_to_do(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0, seeds=1)
    reason = judged(tmp_path).verdict.reason
    assert "needs 5 training seeds" in reason and "python -m repro +experiment=reward_design 'seed=range(5)' adds them" in reason
    one = {"reward.name": "cosine", "stage": "rl"}
    reason = judged(tmp_path, arms={"cosine": one, "classic": {"reward.nam": "classic", "stage": "rl"}}).verdict.reason
    assert "no records of classic (no configuration has a key reward.nam, close is reward.name)" in reason
    study.pair(tmp_path / "more", 8.0)
    metric = {"kind": "curve", "column": "lenght/mean", "summary": "final", "window": 0.1, "unit": "raw"}
    assert "logged no lenght/mean; close are length/mean" in judged(tmp_path / "more", metric=metric).verdict.reason


def test_other_decoding_verifier_and_questions_are_not_tested(tmp_path: Path) -> None:
    """Guards of the issue that look at the records themselves, through the engine."""
    study.pair(tmp_path, 8.0)
    held = {path: pq.read_table(path) for path in sorted((tmp_path / "sweeps").rglob("*cosine*/*/records.parquet"))}
    for column, value, reason in (("verifier_version", "rule-2.0", "verifier differs"), ("question_id", "other", "asked of only one")):
        for path, table in held.items():
            old = table[column].to_pylist()
            new = [value if value != "other" else f"o{text}" for text in old]
            pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(new)), path)
        found = judged(tmp_path)
        assert found.verdict.name == "not tested" and reason in found.verdict.reason


def test_seeds_of_one_arm_scored_by_two_verifiers_are_not_tested(tmp_path: Path) -> None:
    """A sweep finished after an update: the same mixture in every arm is still a mixture."""
    study.pair(tmp_path, 8.0)
    for path in sorted((tmp_path / "sweeps").rglob("seed=4/records.parquet")):
        table = pq.read_table(path)
        column = table.column_names.index("verifier_version")
        pq.write_table(table.set_column(column, "verifier_version", pa.array(["rule-2.0"] * table.num_rows)), path)
    assert "verifier differs" in judged(tmp_path).verdict.reason


def test_an_evaluation_made_again_is_no_other_seed(tmp_path: Path) -> None:
    """The base of seed 4 was evaluated again (an update, another device): still one evaluation, that of the newest cell."""
    study.pair(tmp_path, 8.0)
    folders = sorted(path.parent for path in (tmp_path / "sweeps").rglob("cell.json"))
    for folder in folders:
        facts = json.loads((folder / "cell.json").read_text())
        if facts["seed"] == 4:
            facts["evaluations"][0] |= {"key": "made again", "commit": "f" * 40}
            (folder / "cell.json").write_text(json.dumps(facts))
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder / "cell.json", (1e9 - age, 1e9 - age))
    base = next(row for row in leaderboard(folders) if row.stage == "base")
    assert base.seeds == 1 and base.covers == "questions" and base.commit == "f" * 10
    report = summary.build(Records.load([tmp_path / "sweeps"]), [])[0]
    place = next(i for i, row in enumerate(report.main) if row.stage == "base")
    assert len(summary.seed_means(report.main[place], Records.load([tmp_path / "sweeps"]), "micro", "micro_math")) == 1
    again = folders[0].parent / "again"  # the same seed once more, elsewhere
    shutil.copytree(folders[0], again)
    facts = json.loads((again / "cell.json").read_text())
    facts["evaluations"][-1]["key"] = "made again"
    (again / "cell.json").write_text(json.dumps(facts))
    arm = [row for row in leaderboard([*folders, again]) if row.arm == facts["arm"] and row.stage == "rl"]
    assert [row.seeds for row in arm] == [5]


@pytest.mark.parametrize(
    "text", ["[1, 2]", "null", '{"status": "done"}', '{"status": "done", "seed": "x", "evaluations": 3, "config": {}}']
)
def test_a_cell_file_that_is_no_cell_is_named(tmp_path: Path, text: str) -> None:
    study.pair(tmp_path, 8.0, seeds=1)
    path = next((tmp_path / "sweeps").rglob("cell.json"))
    whole = json.loads(path.read_text())
    given = json.loads(text)
    path.write_text(json.dumps(whole | given if isinstance(given, dict) and len(given) > 1 else given))
    with pytest.raises(RecordError, match=r"cell\.json.*run its cell again"):
        Records.load([tmp_path / "sweeps"])
