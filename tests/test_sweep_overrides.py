"""Command lines of sweeps: values below a swept choice, what a cell may set of Hydra's own, and answers to ``--cfg``."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from repro.config import plain, register
from repro.plan.cells import CONF, expand
from tests.conftest import SHRINK, repro
from tests.forked import forked


def part_of(config: dict, key: str):
    """Return the parent of a key in a plain configuration, None if that is off."""
    for part in key.split(".")[:-1]:
        config = (config or {}).get(part)
    return config


# The line without the values; the values, as key -> what it may be; nothing else in the line may change.
SWEEPS = {
    "an experiment's arms": (["+experiment=length_hacking", "seed=0"], {"reward.repetition.penalty": ["-0.2"]}),
    "a list of values": (["+experiment=length_hacking", "seed=0"], {"reward.repetition.penalty": ["-0.1", "-0.2"]}),
    "an addition": (["+experiment=length_hacking", "seed=0,1"], {"++reward.cosine.r0_correct": ["5"]}),
    "arm files": (["+experiment=base_vs_sft_rl", "seed=0"], {"reward.zero_rl.wrong_value": ["-0.7"]}),
    "a choice of the line": (["-m", "verifier=rule,noisy"], {"verifier.noise.false_positive": ["0.1", "0.3"]}),
    "a null of the line": (
        ["-m", "verifier=noisy", "verifier.noise=null,{false_positive: 0.1}"],
        {"verifier.noise.false_negative": ["0.2"]},
    ),
    "two parts": (
        ["-m", "reward=classic,cosine,cosine_repetition"],
        {"reward.cosine.r0_correct": ["5", "6"], "reward.classic.correct_value": ["3"]},
    ),
    "scales": (["-m", "scale=micro,single_gpu"], {"model.micro.seed": ["3"]}),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_value_is_set_where_its_part_exists(name: str) -> None:
    """Against cells composed one by one, each without the values and then with those whose part is there."""
    line, values = SWEEPS[name]
    words, multirun = [word for word in line if word != "-m"], "-m" in line
    expected = []
    register()
    bare = expand(words, multirun=multirun).cells
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for cell in bare:
            there = {key: texts for key, texts in values.items() if part_of(cell.config, key.lstrip("+")) is not None}
            for chosen in itertools.product(*there.values()):
                added = [f"{key}={text}" for key, text in zip(there, chosen, strict=True)]
                expected.append(plain(compose("config", overrides=[*cell.overrides, *added])))
    found = [cell.config for cell in expand([*words, *(f"{k}={','.join(v)}" for k, v in values.items())], multirun=multirun).cells]
    key = lambda config: json.dumps(config, sort_keys=True)  # noqa: E731
    assert sorted(map(key, found)) == sorted(map(key, expected))
    assert sorted(map(key, found)) != sorted(key(cell.config) for cell in bare)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["+experiment=length_hacking", "reward.classic.correct_value=2"], ["reward.classic is off", "every cell"]),
        (["+experiment=length_hacking", "reward.cosine.r0_corect=2"], ["reward.cosine.r0_corect", "did you mean r0_correct"]),
        (["+experiment=length_hacking", "reward.cosin.r0_correct=2"], ["reward.cosin"]),
        (["+experiment=length_hacking", "~reward.cosine.r0_correct"], ["reward.cosine.r0_correct"]),
        (["+experiment=length_hacking", "reward.cosine.r0_correct=2", "hydra.mode=RUN"], ["is off (null)", "reward=cosine"]),
        (["-m", "reward.cosine={r0_correct: 3}", "seed=0,1"], ["is off (null)"]),
        (["+experiment=length_hacking", "--cfg", "job"], ["a sweep of 10", "hydra.mode=RUN", "reward=cosine", "seed=0"]),
        (["+experiment=length_hacking", "--cfg", "hydra", "-m"], ["a sweep of 10", "--cfg hydra"]),
        (["-m", "--cfg", "all", "seed=3,4"], ["a sweep of 2", "seed=3"]),
        (["seed=3,4", "--cfg", "job"], ["a sweep of 2", "seed=3"]),
        (["-m", "--info", "defaults"], ["--multirun and --info"]),
        (["--run", "-m"], ["--run and --multirun"]),
        (["--resolve"], ["--cfg"]),
        (["--cfg"], ["expected one argument"]),
        (["--cfg", "jobs"], ["'jobs'", "choose from"]),
    ],
)
def test_what_cannot_be_is_one_line(line: list[str], words: list[str], tmp_path: Path) -> None:
    done = repro(*line, cwd=tmp_path, check=False)
    assert done.returncode == 2 and not done.stdout, done
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), done.stderr
    assert not [path for pattern in ("cell.json", ".sweep-*", "repro.log") for path in tmp_path.rglob(pattern)]


def test_the_line_that_shows_a_cell_works(tmp_path: Path) -> None:
    """The answer to ``--cfg`` of a sweep is a command; options may stand between overrides."""
    line = repro("+experiment=length_hacking", "--cfg", "job", "reward.cosine.r0_correct=5", cwd=tmp_path, check=False).stderr
    shown = shlex.split(line.partition("python -m repro ")[2])
    config = OmegaConf.create(repro(*shown, cwd=tmp_path).stdout)
    assert (config.reward.cosine.r0_correct, config.reward.name, config.experiment_name) == (5, "cosine", "length_hacking")


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_cells_run_with_the_values_that_apply(launcher: str, tmp_path: Path, shared_store: Path) -> None:
    """By Hydra itself: three cells, since the arm without the part has no use for two values of it."""
    line = [*SHRINK, "rl=none", "eval.questions=2", "eval.benchmarks=[micro_math]", "reward=classic,cosine", "reward.cosine.r0_correct=5,6"]
    done = forked("-m", *line, f"hydra/launcher={launcher}", f"paths.store={shared_store}", cwd=tmp_path)
    cells = [OmegaConf.load(path) for path in tmp_path.glob("outputs/sweeps/custom/*/*/.hydra/config.yaml")]
    found = sorted((cell.reward.name, OmegaConf.select(cell, "reward.cosine.r0_correct")) for cell in cells)
    assert found == [("classic", None), ("cosine", 5), ("cosine", 6)], done
    assert "reward.cosine.r0_correct is set in 2 of 3 cells" in done.stdout + done.stderr


# Files of a user's own, in --config-dir.
HEAD = "# @package _global_\n"
FILES = {
    "arm/plain.yaml": "allow_contaminated: false\n",
    "arm/launcher.yaml": "defaults:\n  - override /hydra/launcher: local\n",
    "arm/sweeper.yaml": "hydra:\n  sweeper:\n    params:\n      seed: 0,1\n",
    "arm/folder.yaml": "hydra:\n  sweep:\n    dir: elsewhere\n",
    "arm/named.yaml": "experiment_name: other\n",
    "arm/callback.yaml": "hydra:\n  callbacks:\n    mine:\n      _target_: hydra.experimental.callback.Callback\n",
    "arm/logging.yaml": "defaults:\n  - override /hydra/hydra_logging: default\n",
    "arm/old.yaml": "defaults:\n  - override /recipe: paper/table9\n",
    "arm/model.yaml": "defaults:\n  - override /model: ${scale}/llama\n",
    "arm/job.yaml": "seed: 7\nhydra:\n  output_subdir: null\n",
    "local/with_launcher.yaml": "defaults:\n  - override /hydra/launcher: local\n",
    "experiment/launched.yaml": (
        "experiment_name: launched\ndefaults:\n  - override /hydra/launcher: local\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 0,1\n"
    ),
    "experiment/sweeper.yaml": "experiment_name: sweeper\ndefaults:\n  - override /hydra/sweeper: basic\n",
    "experiment/slash.yaml": "experiment_name: slash\ndefaults:\n  - override /data: ${scale}/web\n",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + text)
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["-m", "+arm=plain,launcher"], ["hydra/launcher=local", "+arm=launcher", "ignored"]),
        (["-m", "+arm=plain,sweeper"], ["hydra.sweeper.params", "+arm=sweeper"]),
        (["-m", "+arm=plain,folder"], ["hydra.sweep.dir", "+arm=folder"]),
        (["-m", "+arm=plain,folder", "hydra/launcher=local"], ["hydra.sweep.dir", "+arm=folder"]),
        (["-m", "+arm=plain,named"], ["hydra.sweep.dir", "+arm=named"]),
        (["-m", "+arm=plain,callback", "hydra/launcher=joblib"], ["hydra.callbacks.mine", "+arm=callback"]),
        (["-m", "recipe=micro_sft_scaling,micro_noisy_rl"], ["hydra.sweeper.params", "recipe=micro_sft_scaling"]),
        (["-m", "+arm=plain,logging"], ["hydra/hydra_logging: default", "arm/logging.yaml"]),
        (["+arm=logging"], ["hydra/hydra_logging: default", "arm/logging.yaml"]),
        (["+experiment=sweeper"], ["hydra/sweeper: basic", "experiment/sweeper.yaml"]),
        (["+arm=old"], ["paper/table9", "write paper_table9"]),
        (["-m", "+arm=plain,old"], ["paper/table9", "write paper_table9"]),
        (["+arm=model"], ["micro/llama", "write micro_llama"]),
        (["+experiment=slash"], ["micro/web", "write micro_web"]),
    ],
)
def test_nothing_of_hydra_in_a_file_is_passed_over(line: list[str], words: list[str], own: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    done = repro("--config-dir", str(own), *line, cwd=cwd, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(cwd.rglob("cell.json"))


@pytest.mark.parametrize(
    "line",
    [
        ["+experiment=launched"],
        ["-m", "+arm=launcher", "seed=0,1"],
        ["-m", "+arm=plain,launcher", "hydra/launcher=local"],  # the command line wins
        ["-m", "local=with_launcher", "seed=0,1"],
    ],
)
def test_a_launcher_that_all_cells_share_takes_effect(line: list[str], own: Path, tmp_path: Path) -> None:
    """The local launcher refuses all cells for one; the basic one would run and report each."""
    done = repro("--config-dir", str(own), *line, "rl.steps=0", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "(in the cell" in done.stderr and "cells failed" not in done.stderr, done.stderr


@pytest.mark.parametrize("launcher", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_what_hydra_reads_in_a_cell_may_differ(launcher: str, own: Path, tmp_path: Path, shared_store: Path) -> None:
    line = [*SHRINK, "rl=none", "eval.questions=2", "eval.benchmarks=[micro_math]", "+arm=plain,job"]
    forked("--config-dir", str(own), "-m", *line, f"hydra/launcher={launcher}", f"paths.store={shared_store}", cwd=tmp_path)
    written = {path.parent.name: (path.parent / ".hydra").exists() for path in tmp_path.glob("outputs/sweeps/custom/*/*/cell.json")}
    assert written == {"seed=0": True, "seed=7": False}


def test_a_sweep_submitted_with_the_old_spelling_goes_on(tmp_path: Path) -> None:
    """``python -m repro.sweep retry`` runs the cells of an old sweep with the code of now."""
    from repro.sweep.folder import Cell, SweepFolder

    old = ["model=micro/llama_small", "+experiment=model_size", "recipe=${scale}/table9", "data.file=a/b", "rl.steps=3"]
    sweep = SweepFolder.create(str(tmp_path), [Cell(0, old, "x/seed=0", {})], "local", {}, [])
    new = ["model=micro_llama_small", "+experiment=model_size", "recipe=${scale}_table9", "data.file=a/b", "rl.steps=3"]
    assert SweepFolder(sweep.root).cells()[0].overrides == new


def test_choices_have_no_folders() -> None:
    """Hydra 1.4 would place their keys one level deeper."""
    nested = [path for path in CONF.glob("*/*") if path.is_dir() and path.name != "__pycache__"]
    assert {path.parent.name for path in nested} <= {"hydra"}
