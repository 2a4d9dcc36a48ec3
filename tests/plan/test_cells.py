"""Cells as Hydra would run them, stages counted once, keys as the pipeline has them, bad input."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

from repro.config import ConfigError
from repro.plan.cells import NEW, combinations, expand, kept_steps
from repro.plan.lookup import look_up

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@functools.cache
def experiment(name: str):
    return expand([f"+experiment={name}"])


def kinds(plan) -> Counter:
    return Counter(stage.kind for _, stage in plan.unique())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_expand_as_the_sweeper_does(name):
    """Against Hydra's own sweeper: the same overrides, in the same order."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    plan = experiment(name)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose("config", overrides=[f"+experiment={name}"], return_hydra_config=True).hydra
    assert plan.sweep == (hydra.mode is not None and hydra.mode.name == "MULTIRUN")
    if not plan.sweep:
        assert len(plan.cells) == 1
        return
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*params, f"+experiment={name}"]), None)
    assert [cell.overrides for cell in plan.cells] == jobs


def test_quickstart_is_one_cell():
    plan = experiment("quickstart")
    assert len(plan.cells) == 1 and kinds(plan) == {"base": 1, "eval": 4, "rl": 1}
    assert [stage.title for stage in plan.cells[0].stages] == [
        "base",
        "eval base",
        "rl",
        "eval rl step 20",
        "eval rl step 40",
        "eval rl step 60",
    ]


def test_reward_design_shares_base_and_sft():
    plan = experiment("reward_design")
    assert len(plan.cells) == 15 and sorted(map(len, plan.arms.values())) == [5, 5, 5]
    # One base for all, SFT by seed, RL by cell; an evaluation of each, and three of every RL.
    assert kinds(plan) == {"base": 1, "sft": 5, "rl": 15, "eval": 1 + 5 + 45}


def test_sft_init_shares_the_base_only():
    plan = experiment("sft_init_for_rl")
    assert len(plan.cells) == 10 and kinds(plan) == {"base": 1, "sft": 10, "rl": 10, "eval": 1 + 10 + 30}


def test_keys_say_the_same_as_identities(tmp_path):
    plan = look_up(experiment("reward_design"))
    pairs = {(stage.identity, stage.key) for cell in plan.cells for stage in cell.stages}
    assert len(pairs) == len({identity for identity, _ in pairs}) == len({key for _, key in pairs})
    assert all(stage.status == NEW and stage.key for _, stage in plan.unique())
    assert not list(tmp_path.iterdir())  # nothing was made


@pytest.mark.parametrize("name", ["sft_scaling", "pretraining_traces"])
def test_cells_without_rl_have_keys(name):
    assert all(stage.key and stage.status == NEW for _, stage in look_up(expand([f"+experiment={name}", "seed=0"])).unique())


def test_command_line_sweeps():
    plan = expand(["+experiment=reward_design", "seed=range(2)", "reward=classic"])
    assert [cell.config["seed"] for cell in plan.cells] == [0, 1]
    assert [cell.overrides[:2] for cell in plan.cells] == [["reward=classic", "seed=0"], ["reward=classic", "seed=1"]]
    plan = expand(["sft=none,long"], multirun=True)
    assert len(plan.cells) == 2 and kinds(plan) == {"base": 1, "sft": 1, "rl": 2, "eval": 1 + 1 + 6}
    assert len(expand(["hydra.mode=RUN", "+experiment=reward_design", "seed=3"]).cells) == 1
    plan = expand(["+experiment=reward_design", "seed=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert [cell.overrides for cell in plan.cells] == [
        [f"reward={r}", "seed=0", "+experiment=reward_design"] for r in ("classic", "cosine", "cosine_repetition")
    ]


def test_equal_cells_are_one():
    plan = expand(["seed=0,0"], multirun=True)
    assert len(plan.cells) == 2 and kinds(plan)["rl"] == 1


def test_kept_policies():
    assert kept_steps({"rl": {"steps": 60, "eval_steps": 20}}) == [20, 40, 60]
    assert kept_steps({"rl": {"steps": 50, "eval_steps": 20}}) == [20, 40, 50]
    assert kept_steps({"rl": {"steps": 5, "eval_steps": 0}}) == [5]


def test_unresolved_hub_model_says_so(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = look_up(expand(["model.path=meta-llama/Llama-3.1-8B", "rl.engine=vllm_colocate"]))
    (cell,) = plan.cells
    assert "known only once it is on this machine" in cell.why_unknown
    assert all(stage.key is None for stage in cell.stages)


def test_combinations():
    assert combinations(["a=1,2", "b=3"], {"a": "9", "c": "x,y"}) == [
        ["a=1", "c=x", "b=3"],
        ["a=1", "c=y", "b=3"],
        ["a=2", "c=x", "b=3"],
        ["a=2", "c=y", "b=3"],
    ]
    assert combinations(["a=range(1,4)"], {}) == [["a=1"], ["a=2"], ["a=3"]]


@pytest.mark.parametrize(
    ("overrides", "multirun", "words"),
    [
        (["seed=0,1"], False, "add -m"),
        (["rl.kl=interval(0,1)"], True, "basic sweeper"),
        (["seed=range(0)"], True, "no cells"),
        (["rl.clip=-1"], False, "rl.clip"),
        (["seed=0,-1"], True, "seed"),
    ],
)
def test_bad_input(overrides, multirun, words):
    with pytest.raises(ConfigError, match=words):
        expand(overrides, multirun=multirun)


def test_what_a_sweep_skips_no_sweeper_runs():
    import importlib

    from hydra.core.override_parser.overrides_parser import OverridesParser

    import repro.__main__  # noqa: F401 - makes the plugin importable
    from repro.plan.cells import without

    Sweeper = importlib.import_module("hydra_plugins.repro_launchers").Sweeper
    line, skip = ["sft=short,long", "n=32,192"], ["sft=short n=192"]
    batches = Sweeper(max_batch_size=None, params=None, skip=skip).split_arguments(OverridesParser.create().parse_overrides(line), None)
    assert batches == [without(combinations(line, {}), skip)] == [[["sft=short", "n=32"], ["sft=long", "n=32"], ["sft=long", "n=192"]]]
