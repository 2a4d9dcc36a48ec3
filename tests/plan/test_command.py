"""``python -m repro.plan`` as a user runs it, and its estimate against a real run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from repro.plan import calibrate, table
from repro.plan.cells import STORED, expand
from repro.plan.gpus import Assumptions
from repro.plan.lookup import look_up
from repro.plan.summary import Request, summary
from repro.plan.workload import Lengths
from tests.conftest import SHRINK, repro

HUB = ["model.path=meta-llama/Llama-3.1-8B", "rl=ppo", "rl.engine=vllm_colocate"]


def plan(*arguments: str, cwd, code: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "repro.plan", *arguments]
    done = subprocess.run(command, cwd=cwd, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def test_hub_models_need_no_torch(tmp_path):
    script = (
        "import sys; from repro.plan.__main__ import main; "
        f"sys.argv = ['plan', *{HUB!r}, '--json', '--gpus', '64', '--sd', '2', '--effect', '3']; main(); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rl = next(row for row in found["stages"] if row["kind"] == "rl")
    assert rl["gpus"] == 64 and rl["memory_gib"]["weights"] == pytest.approx(4 * 8_030_261_248 / 2**30)
    assert rl["fits"] is False and rl["peak_gib_instead"]["zero3"] < 72
    assert found["detect"]["seeds"] == 1 and found["detect"]["seeds_needed"] == 9
    assert found["total"]["gpu_hours"] < found["total"]["gpu_hours_full_windows"] or rl["completion_tokens_mean"] == 160
    assert not list(tmp_path.iterdir())


def test_micro_is_measured(tmp_path):
    found = json.loads(plan("hydra.mode=RUN", *SHRINK, "--json", cwd=tmp_path).stdout)
    assert found["total"]["gpu_hours"] is None and found["total"]["seconds"] > 0
    assert any("measured here" in line for line in found["assumptions"])
    assert not list(tmp_path.iterdir())


def request(**settings) -> Request:
    return Request(Assumptions(), Lengths(), **settings)


def measured(plan, **settings) -> Request:
    return request(speeds={calibrate.model_of(cell.config): SPEEDS for cell in plan.cells}, **settings)


SPEEDS = calibrate.Speeds(0.002, 5e-5, 9.0, 15_000.0, 6_000.0, 5.0, 1, 4.0)


def test_tables_of_a_sweep():
    sweep = expand(["+experiment=reward_design", "seed=range(2)"])
    found = summary(sweep, measured(sweep, parallel=2))
    by_stage = {row["stage"]: row for row in found["stages"]}
    assert {name: row["stages"] for name, row in by_stage.items()} == {
        "base": 1,
        "eval base": 1,
        "sft": 2,
        "eval sft": 2,
        "rl": 6,
        "eval rl": 18,
    }
    assert by_stage["sft"]["cells"] == 6 and by_stage["eval rl"]["rl_steps"] == [20, 40, 60]
    assert found["total"]["seconds"] == pytest.approx((sum(row["seconds"] for row in found["stages"]) + SPEEDS.startup) / 2)
    text = table.markdown(found)
    assert "6 cells = 3 arms x 2 seeds" in text and "| eval rl, steps 20 40 60 | 18 | 6 cells | 18 unknown |" in text
    json.dumps(found)


def test_gpu_tables_name_what_does_not_fit(capsys):
    table.show(summary(expand(HUB), request()))
    out = capsys.readouterr().out
    assert "rl does not fit on a card" in out and "launch=zero3" in out and "GPU-hours" in out and "One seed an arm" in out


def test_rl_from_the_base_starts_short():
    quickstart = expand(["+experiment=quickstart"])
    rows = {row["stage"]: row for row in summary(quickstart, measured(quickstart))["stages"]}
    assert rows["eval base"]["completion_tokens_mean"] == SPEEDS.base_length
    assert SPEEDS.base_length < rows["rl"]["completion_tokens_mean"] < rows["eval rl"]["completion_tokens_mean"]
    assert quickstart.cells[0].config["rl"]["steps"] > calibrate.RAMP


def test_every_model_of_a_sweep_has_its_own_measurement(monkeypatch):
    monkeypatch.setattr(calibrate, "measure", lambda cell: cell.config["model"]["micro"]["layers"])
    found = calibrate.measure_all(expand(["model.micro.layers=1,2", "seed=0,1", "model.micro.shipped=false"], multirun=True).cells)
    assert sorted(found.values()) == [1, 2]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "-"), (999, "999"), (1_234, "1.2k"), (85_870, "85.9k"), (648_629, "649k"), (3_400_000, "3.4M"), (1.4e9, "1.4B")],
)
def test_counts(amount, text):
    assert table.count(amount) == text


def test_durations():
    assert [table.duration(s) for s in (5, 300, 7200, 864_000)] == ["5 s", "5 min", "2.0 h", "10.0 days"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+experiment=quickstar"], "did you mean quickstart"),
        (["rl.stepz=3"], "did you mean steps"),
        (["seed=0,1"], "add -m"),
        ([*HUB, "--gpu", "b9000"], "choose one of"),
        ([*HUB, "--mfu", "2"], "share in (0, 1]"),
        ([*HUB, "--gpus", "none"], "--gpus"),
        (["--tokenz", "3"], "--tokenz"),
        (["model.path=someone/unknown-3B", "rl.engine=transformers"], "its size is not known here"),
        (["--json", "--markdown"], "not allowed with"),
    ],
)
def test_bad_input_is_one_line(arguments, words, monkeypatch, capsys, tmp_path):
    from repro.plan.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plan", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and words in error and "\n" not in error, error


def test_help_helps(monkeypatch, capsys):
    from repro.plan.__main__ import main

    monkeypatch.setattr(sys, "argv", ["plan", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    assert ended.value.code == 0 and "+experiment=reward_design" in out and "--mfu" in out


@pytest.mark.slow
def test_estimate_against_a_real_run(tmp_path, monkeypatch):
    """Within a factor of 2; before and after the run, since other load comes and goes. Then the plan finds every stage, by the run's keys."""
    line = ["+experiment=quickstart", "rl.steps=20", "tracking=none"]
    before = json.loads(plan(*line, "--json", cwd=tmp_path).stdout)
    assert before["total"]["to_do"] == before["total"]["stages"] == 4
    repro(*line, cwd=tmp_path, timeout=900)
    (path,) = tmp_path.glob("outputs/sweeps/quickstart/*/seed=0/cell.json")
    cell = json.loads(path.read_text())
    after = json.loads(plan(*line, f"paths.outputs={tmp_path / 'empty'}", "--json", cwd=tmp_path).stdout)
    estimate = math.sqrt(before["total"]["seconds"] * after["total"]["seconds"])
    print(f"planned {before['total']['seconds']:.0f} s before and {after['total']['seconds']:.0f} s after, took {cell['seconds']:.0f} s")
    assert 0.5 < estimate / cell["seconds"] < 2

    monkeypatch.chdir(tmp_path)
    (planned,) = look_up(expand(line)).cells
    assert [stage.key for stage in planned.stages] == [stage["key"] for stage in cell["stages"]]
    assert all(stage.status == STORED for stage in planned.stages)
