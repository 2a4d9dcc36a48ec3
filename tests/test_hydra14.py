"""The newest pre-release of Hydra 1.4 composes every experiment at every scale to the same cells as Hydra 1.3, and runs a sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SHRINK

pytestmark = pytest.mark.hydra14
DUMP = """
import json, sys
import hydra
from repro.identity import cell_dir
from repro.plan.cells import CONF, expand

names = lambda group: sorted(path.stem for path in (CONF / group).glob("*.yaml"))
found = {}
for experiment in names("experiment"):
    for scale in names("scale"):
        cells = expand([f"+experiment={experiment}", f"scale={scale}", "seed=0"]).cells
        found[f"{experiment} {scale}"] = [[cell_dir(c.config), [s.identity for s in c.stages], c.overrides, c.config] for c in cells]
json.dump([hydra.__version__, found], sys.stdout, sort_keys=True)
"""


@pytest.fixture(scope="module")
def recent(tmp_path_factory) -> dict[str, str]:
    """The environment in which Python finds the newest Hydra 1.4 before the installed one."""
    target = tmp_path_factory.mktemp("hydra14")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--pre", "--target", str(target)]
    done = subprocess.run([*command, "hydra-core>=1.4.0.dev0,<1.5.0.dev0"], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"Hydra 1.4 cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{ROOT}"}


def repro(env: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "repro", *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_every_experiment_at_every_scale_has_the_same_cells(recent: dict[str, str], tmp_path: Path) -> None:
    """Folders, stages, overrides and resolved configurations; both versions compose at the same time."""
    environments = [{**os.environ, "PYTHONPATH": str(ROOT)}, recent]
    command = [sys.executable, "-c", DUMP]
    paths = [tmp_path / "before.json", tmp_path / "after.json"]
    files = [path.open("w") for path in paths]
    started = zip(environments, files, strict=True)
    processes = [subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.PIPE, text=True) for env, file in started]
    errors = [process.communicate()[1] for process in processes]
    assert not any(process.returncode for process in processes) and not errors[1], errors  # no warning either
    (old, before), (new, after) = (json.loads(path.read_text()) for path in paths)
    assert old.startswith("1.3.") and new.startswith("1.4."), (old, new)
    assert len(before) >= 66 and before.keys() == after.keys()
    assert not [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    "line",
    [
        ["+experiment=length_hacking", "reward.cosine.r0_correct=5", "hydra/launcher=local", "rl.steps=0"],
        ["+experiment=length_hacking", "--cfg", "job"],
        ["reward.cosine.r0_correct=5"],
        ["model=micro/llama"],
        ["rl.stepz=3"],
    ],
)
def test_refusals_are_the_same_line(line: list[str], recent: dict[str, str], tmp_path: Path) -> None:
    before, after = (repro(env, *line, cwd=tmp_path) for env in ({**os.environ, "PYTHONPATH": str(ROOT)}, recent))
    assert (before.returncode, before.stdout, before.stderr) == (after.returncode, after.stdout, after.stderr)
    assert before.returncode == 2 and len(before.stderr.splitlines()) == 1


def test_an_experiment_runs_as_the_sweep_that_it_is(recent: dict[str, str], tmp_path: Path) -> None:
    line = ["+experiment=base_vs_sft_rl", *SHRINK, "eval.benchmarks=[micro_math]", "eval.questions=2", "rl.steps=1", "seed=0,1"]
    done = repro(recent, *line, cwd=tmp_path)
    assert done.returncode == 0 and "4 cells" in done.stdout and "Warning" not in done.stderr, done
