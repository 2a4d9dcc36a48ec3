"""Budgets other than samples: what stops a run, what a kill leaves, what keys and records say, what may be compared."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.checkpoints import Marker
from repro.claims import guards
from repro.claims.arms import Arm
from repro.config import ConfigError, plain
from repro.identity import arm_key
from repro.plan.cells import expand
from repro.plan.workload import Lengths, of_stage
from repro.rl.budget import FILE, Budget
from repro.validate import validate
from tests.conftest import SHRINK
from tests.forked import forked
from tests.rl.small import train
from tests.test_cell import cell_folder, run_and_kill
from tests.test_config import composed

TOKENS = [*SHRINK, "budget=tokens", "budget.tokens=700", "eval.benchmarks=[micro_math]", "rl.steps=1", "rl.save_steps=3"]


def stage(outputs):
    (manifest,) = (outputs / "store" / "rl").glob("*/manifest.json")
    return json.loads(manifest.read_text()), pq.read_table(manifest.with_name("metrics.parquet")).to_pylist()


def test_tokens_stop_the_run_and_a_kill_keeps_the_count(tmp_path, shared_store) -> None:
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    line = [*TOKENS, "rl=ppo", "rl.epochs=2", "rl.minibatches=2", "rl.critic_warmup=0.3"]
    forked(*line, cwd=tmp_path / "calm")
    run_and_kill(line, tmp_path / "killed", "rl", 5)  # after the checkpoint of step 3
    forked(*line, cwd=tmp_path / "killed")
    (calm, steps), (killed, again) = (stage(tmp_path / name / "outputs") for name in ("calm", "killed"))
    tokens = [row["tokens"] for row in steps]
    assert sum(tokens) >= 700 > sum(tokens[:-1])  # it stops at the end of the step that uses the budget up, not by rl.steps
    assert calm["budget"] == {"kind": "tokens", "unit": "tokens", "amount": 700, "spent": sum(tokens), "reproducible": True}
    assert calm["steps"] == len(steps) > 3 and calm["config"]["budget"] == {"kind": "tokens", "amount": 700}
    assert killed["budget"] == calm["budget"] and [row["tokens"] for row in again] == tokens
    assert [row["learning_rate"] for row in again] == [row["learning_rate"] for row in steps]
    records = [pq.read_table(cell_folder(tmp_path / n / "outputs") / "records.parquet").to_pylist() for n in ("calm", "killed")]
    assert records[0] == records[1] and {row["step"] for row in records[0] if row["stage"] == "rl"} == {100}
    cell = json.loads((cell_folder(tmp_path / "calm" / "outputs") / "cell.json").read_text())
    assert cell["budget"] == calm["budget"] and "tokens-budget" in cell["arm"]


def test_the_clock_stops_the_run(tmp_path, shared_store) -> None:
    line = [*TOKENS[: len(SHRINK)], "budget=wall", "budget.minutes=0.01", "eval.benchmarks=[micro_math]", "rl.steps=1"]
    forked(*line, f"paths.store={shared_store}", cwd=tmp_path)
    cell = json.loads((cell_folder(tmp_path / "outputs") / "cell.json").read_text())
    spent = cell["budget"]
    assert spent["kind"] == "wall" and spent["amount"] == 0.6 <= spent["spent"] and spent["reproducible"] is False


def test_a_checkpoint_holds_the_count(tmp_path) -> None:
    made = Budget({"kind": "tokens", "tokens": 100}, tmp_path, 2)
    made.add_tokens(30)
    folder = tmp_path / ".resume" / "trainer" / "checkpoint-4"
    folder.mkdir(parents=True)
    made.on_save(SimpleNamespace(output_dir=folder.parent), SimpleNamespace(global_step=4), None)
    Marker().on_save(
        SimpleNamespace(output_dir=folder.parent, distributed_state=SimpleNamespace(wait_for_everyone=lambda: None)),
        SimpleNamespace(global_step=4),
        None,
    )
    made.add_tokens(50)  # thrown away by a kill
    again = Budget({"kind": "tokens", "tokens": 100}, tmp_path, 2)
    assert again.spent == 30 and again.share == 0.3 and not again.used and (folder / FILE).exists()
    control = SimpleNamespace(should_training_stop=False, should_save=True)
    again.add_tokens(70)
    again.on_step_end(SimpleNamespace(world_size=1), SimpleNamespace(global_step=5), control)
    assert not control.should_training_stop  # inside a rollout batch
    again.on_step_end(SimpleNamespace(world_size=1), SimpleNamespace(global_step=6), control)
    assert control.should_training_stop and not control.should_save


def test_the_learning_rate_follows_the_share(tmp_path) -> None:
    made = Budget({"kind": "tokens", "tokens": 100}, tmp_path, 1)
    rates = []
    for _ in range(12):
        rates.append(made.rate(0.2, 0.1))
        made.add_tokens(10)
    assert rates[:3] == pytest.approx([0.0, 0.5, 1.0]) and rates[10] == rates[11] == pytest.approx(0.1)
    assert rates[2:11] == sorted(rates[2:11], reverse=True)


def test_keys_of_samples_are_what_they_were_and_others_differ() -> None:
    samples, tokens, more, wall = (
        plain(composed(*line))
        for line in (["budget=samples", "budget.tokens=7"], ["budget=tokens"], ["budget=tokens", "budget.tokens=7"], ["budget=wall"])
    )
    before = {key: value for key, value in samples.items() if key != "budget"}  # as cells were recorded before there were budgets
    assert arm_key(samples) == arm_key(before) == arm_key(plain(composed()))
    assert len({arm_key(config) for config in (samples, tokens, more, wall)}) == 4
    assert arm_key(samples, "sft") == arm_key(wall, "sft")


def test_arms_of_different_budgets_are_not_compared() -> None:
    scores = {0: np.ones((2, 2)), 1: np.zeros((2, 2))}
    arms = [Arm(name, scores, ("a", "b"), budget=budget) for name, budget in (("x", "samples"), ("y", "tokens 7"), ("z", ""))]
    assert guards.different_budget(arms) == "budget differs: x samples, y tokens 7"
    assert guards.different_budget([arms[0], arms[2]]) is None
    assert any("budget differs" in reason for reason in guards.check(arms[:2], k=2, min_seeds=2, decontamination=False))


def test_the_plan_counts_by_the_budget() -> None:
    (cell,) = expand(["budget=tokens", "budget.tokens=1000000", "scale=paper"]).cells
    rl, last = cell.stages[-2:]
    work = of_stage(cell.config, rl, Lengths())
    assert rl.kind == "rl" and last.step == 100 and 1_000_000 <= work.sampled < 1_000_000 + 4096 * 14336


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["budget=tokens", "rl=none"], "rl=none has none"),
        (["budget=tokens", "budget.tokens=0"], "budget.tokens=0"),
        (["budget=wall", "budget.minutes=-1"], "budget.minutes=-1"),
        (["budget=wall", "budget.kind=clock"], "budget.kind='clock'"),
    ],
)
def test_bad_budgets(line: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(composed(*line))
    assert words in str(caught.value)


@given(
    warmup=st.sampled_from([0.0, 0.3, 1.0]),
    least=st.sampled_from([0.0, 0.1, 1.0]),
    share=st.floats(0, 1.2),
)
def test_the_learning_rate_has_a_value_for_every_share_of_every_warmup(warmup: float, least: float, share: float, tmp_path_factory) -> None:
    budget = Budget({"kind": "tokens", "tokens": 1000}, tmp_path_factory.getbasetemp(), 1)
    budget.add_tokens(1000 * share)
    rate = budget.rate(warmup, least)
    assert 0 <= rate <= 1
    if warmup == 1:
        assert rate == pytest.approx(min(1, share))
    elif share >= 1:
        assert rate == pytest.approx(least)


@pytest.mark.parametrize("settings", [["budget=tokens", "budget.tokens=300"], []], ids=str)
def test_a_run_that_only_warms_up(settings: list[str], start, tmp_path) -> None:
    shares = ["rl.warmup=1", "rl.critic_warmup=1", "rl.min_learning_rate=0"]
    rows = train(start, tmp_path / "work", "rl=ppo", *shares, *settings)
    rates = [row["learning_rate"] for row in rows]
    assert rates == sorted(rates) and rates[-1] > rates[0] == 0
