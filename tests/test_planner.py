"""Planning a sweep: the fast way gives the folders and resources of Hydra's own composition, cell by cell."""

from __future__ import annotations

import itertools

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from repro.config import ConfigError, plain, register
from repro.identity import cell_dir
from repro.sweep.planner import allocation, plan


@pytest.fixture(scope="module", autouse=True)
def hydra():
    import repro.__main__  # noqa: F401 - its resolver names the folders

    register()
    with initialize_config_module("conf", version_base="1.3"):
        yield


def planned(jobs: list[list[str]]):
    loader = GlobalHydra.instance().config_loader()

    def composed(overrides):
        config = compose("config", overrides=overrides, return_hydra_config=True)
        with_dir = OmegaConf.create({"sweep": {"dir": "outputs/sweeps/x"}})
        OmegaConf.set_readonly(config, False)
        OmegaConf.set_struct(config, False)
        config.hydra = with_dir
        return config

    return plan(jobs, composed, lambda key: bool(loader.get_group_options(key)))[0]


def test_fast_planning_equals_composition() -> None:
    axes = [
        ["rl=grpo", "rl=none"],
        ["sft=long", "sft=none"],
        ["rl.steps=3", "rl.steps=7"],
        ["resources.rl.nodes=2", "resources.rl.nodes=1"],
    ]
    jobs = [[*choice, f"seed={seed}"] for choice in itertools.product(*axes) for seed in (0, 3)]
    found = {cell.folder: cell for cell in planned(jobs)}
    expected = {}
    for overrides in jobs:
        config = plain(compose("config", overrides=overrides))
        expected.setdefault(cell_dir(config), (overrides, allocation(config)))
    assert {folder: (cell.overrides, cell.resources) for folder, cell in found.items()} == expected


@pytest.mark.parametrize("bad", ["seed=-1", "seed=x", "eval.questions=0", "rl.nothing=3"])
def test_a_bad_cell_is_refused_before_anything_is_submitted(bad: str) -> None:
    from repro.errors import explain

    with pytest.raises(Exception) as caught:
        planned([["rl=grpo", "seed=0"], ["rl=grpo", bad]])
    assert isinstance(caught.value, ConfigError) or explain(caught.value) is not None
