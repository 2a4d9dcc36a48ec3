"""Every claim names an experiment whose cells are its arms, at every scale: enough seeds, one configuration an arm, nothing else differing."""

from __future__ import annotations

import functools

import pytest
import yaml

from repro.claims import declared
from repro.claims.group import Group
from repro.claims.records import _matches, _undeclared
from repro.identity import arm_key
from repro.plan.cells import CONF, combinations
from tests.conftest import planned

CLAIMS = {claim.id: claim for claim in declared.load()}


def cells(experiment: str, scale: str) -> list[dict]:
    """One seed's cells; which seeds there are does not depend on the arm."""
    return [cell.config for cell in planned(experiment, scale).cells]


@functools.cache
def seeds(experiment: str) -> int:
    """How many an experiment's file declares."""
    text = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())["hydra"]["sweeper"]["params"]["seed"]
    return len(combinations([], {"seed": text}))


@pytest.mark.parametrize("scale", ["micro", "single_gpu", "paper"])
@pytest.mark.parametrize("name", CLAIMS)
def test_the_experiment_makes_every_arm(name: str, scale: str) -> None:
    claim, chosen = CLAIMS[name].at(scale), {}
    assert seeds(claim.experiment) >= claim.min_seeds
    for arm, (query, stage) in claim.arms.items():
        configs = {}
        for config in cells(claim.experiment, scale):
            if config[stage if stage != "base" else "model"]["name"] != "none" and _matches(config, query):
                configs[arm_key(config, stage)] = config
        assert len(configs) == 1, f"{arm} matches {len(configs)} configurations of {claim.experiment}"
        ((key, config),) = configs.items()
        chosen[arm] = Group(scale, stage, key, config)
    assert _undeclared(chosen, claim.arms) is None
    keys = {(group.key, group.stage) for group in chosen.values()}
    assert len(keys) == len(chosen), "two arms are the same cells"
