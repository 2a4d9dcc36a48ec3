"""The keys of all stages of all experiments at micro scale: they change only where that is meant.

A change that only moves code must leave them as they are, so that a store made before is reused.
One that changes results raises a VERSION, and writes the table again:

    python -m tests.plan.test_stage_keys
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from repro.plan.lookup import look_up
from tests.conftest import planned

TABLE = Path(__file__).with_name("stage_keys.json")
EXPERIMENTS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml"))


@functools.cache
def looked_up(experiment: str):
    return look_up(planned(experiment, "micro"))


def keys(experiment: str) -> dict[str, dict[str, str]]:
    """Return arm -> stage -> key of the cells of seed 0."""
    plan = looked_up(experiment)
    return {f"{cell.arm}-{cell.arm_key}": {stage.title: stage.key for stage in cell.stages} for cell in plan.cells}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is in the keys; these are a CPU's")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_keys_are_those_of_the_table(experiment: str) -> None:
    assert keys(experiment) == json.loads(TABLE.read_text())[experiment]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_stages_are_counted_as_the_store_does(experiment: str) -> None:
    """What the plan takes for one stage has one key, and what it takes for two has two."""
    plan = looked_up(experiment)
    by_identity, by_key = defaultdict(set), defaultdict(set)
    for cell in plan.cells:
        for stage in cell.stages:
            by_identity[stage.identity].add(stage.key)
            by_key[stage.key].add(stage.identity)
    assert all(len(found) == 1 for found in (*by_identity.values(), *by_key.values()))


if __name__ == "__main__":
    table = {experiment: keys(experiment) for experiment in EXPERIMENTS}
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    print(f"{TABLE}: {sum(map(len, table.values()))} cells of {len(table)} experiments")
