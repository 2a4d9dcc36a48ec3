"""Every experiment is planned at the scales that this machine cannot run: cells, tokens, memory of a card, hours."""

from __future__ import annotations

import math

import pytest

from repro.plan import table
from repro.plan.cells import CONF, expand
from repro.plan.gpus import Assumptions
from repro.plan.workload import Lengths, expected_lengths
from tests.conftest import planned

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if "runs: a pipeline" not in path.read_text())


@pytest.mark.parametrize("scale", ["paper", "single_gpu"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_plan_has_numbers(experiment: str, scale: str) -> None:
    plan = planned(experiment, scale)
    found = table.summary(plan, table.Request(Assumptions(), Lengths()))
    total = found["total"]
    assert found["cells"] == len(plan.cells) == len(plan.arms)
    for key in ("sampled_tokens", "gpu_hours", "gpu_hours_full_windows", "seconds"):
        assert math.isfinite(total[key]) and total[key] > 0, key
    trains = [row for row in found["stages"] if row["kind"] in ("sft", "rl", "judge")]
    assert trains or experiment == "quickstart"
    for row in trains:
        assert row["peak_gib"] > 0 and math.isfinite(row["peak_gib"]) and row["trained_tokens_each"] > 0 and row["seconds_each"] > 0
    assert found["scale"] == scale and "GiB on one card" in table.markdown(found)


def test_lengths_are_those_of_the_data() -> None:
    """A mixture lies between its sources; RL on other prompts than SFT has the lengths of its own."""
    prompts = {}
    for name in ("math", "web_then_math", "math_web"):
        config = expand([f"data=micro/{name}", "sft=long"]).cells[0].config
        prompts[name] = expected_lengths(config, "long", Lengths())[0], expected_lengths(config, "long", Lengths(), rl=True)[0]
    sft = {name: found[0] for name, found in prompts.items()}
    assert min(sft["math"], sft["web_then_math"]) < sft["math_web"] < max(sft["math"], sft["web_then_math"])
    assert {found[1] for found in prompts.values()} == {sft["math"]}  # all three do RL on clean problems
