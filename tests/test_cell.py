"""Whole cells, as a user runs them: every experiment, reuse, seeds, kills, damage, failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, SHRINK, repro

EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))


def cell_folder(outputs: Path) -> Path:
    (found,) = outputs.glob("sweeps/*/*/seed=*")
    return found


def records(outputs: Path) -> list[dict]:
    return pq.read_table(cell_folder(outputs) / "records.parquet").to_pylist()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_and_a_second_time_only_reads(experiment: str, tmp_path, shared_store) -> None:
    arguments = [f"+experiment={experiment}", *SHRINK, f"paths.store={shared_store}"]
    if "MULTIRUN" in (ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text():
        arguments.append("seed=0,1")
    first = repro(*arguments, cwd=tmp_path)
    sweep = tmp_path / "outputs" / "sweeps" / experiment
    cells = {p: json.loads(p.read_text()) for p in sweep.glob("*/seed=*/cell.json")}
    assert cells and all(cell["status"] == "done" for cell in cells.values())
    assert "rl @ 4" in first.stdout
    for path, cell in cells.items():
        rows = pq.read_table(path.with_name("records.parquet")).to_pylist()
        evaluations = len(cell["evaluations"])
        assert len(rows) == evaluations * 5 * 3 * 2  # benchmarks x questions x samples
        assert len({(r["stage"], r["step"], r["benchmark"], r["question_id"], r["sample_index"]) for r in rows}) == len(rows)
        assert cell["command"].startswith("python -m repro hydra.mode=RUN") and "environment" in cell
    again = repro(*arguments, cwd=tmp_path)
    assert "0 built in 0 s" in again.stdout
    assert [line for line in again.stdout.splitlines() if line.startswith("│")] == [
        line for line in first.stdout.splitlines() if line.startswith("│")
    ]


def test_same_seed_same_records_other_seed_others(tmp_path) -> None:
    found = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        repro(*SHRINK, "sft=long", f"seed={seed}", cwd=tmp_path / name)
        found[name] = records(tmp_path / name / "outputs")
    assert found["a"] == found["b"]
    responses = {name: [r["response"] for r in rows if r["stage"] == "rl"] for name, rows in found.items()}
    assert responses["a"] != responses["c"]


def test_a_second_arm_costs_only_what_is_new(tmp_path, shared_store) -> None:
    store = f"paths.store={shared_store}"
    repro(*SHRINK, "sft=long", "reward=classic", store, cwd=tmp_path)
    done = repro(*SHRINK, "sft=long", "reward=cosine", store, cwd=tmp_path)
    lines = {line.split("  ")[1]: line for line in done.stderr.splitlines() if line.startswith("  ")}
    for title in ("base", "eval base", "sft long", "eval sft"):
        assert any(title in line and "reused" in line for line in lines.values()), done.stderr


def run_and_kill(arguments: list[str], cwd: Path, stage: str, lines: int) -> None:
    """Start a cell and SIGKILL it once the metrics of ``stage`` have ``lines`` lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", *arguments], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        found = list((cwd / "outputs" / "store" / stage).glob(".*.work/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= lines:
            break
        time.sleep(0.01)
    assert process.poll() is None, "the cell ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_kill_9_in_sft_and_rl_changes_nothing(tmp_path) -> None:
    arguments = [*SHRINK, "sft=long", "data.train_size=40", "sft.save_steps=3", "rl.steps=9", "rl.save_steps=4", "rl.eval_steps=3"]
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    repro(*arguments, cwd=tmp_path / "calm")
    run_and_kill(arguments, tmp_path / "killed", "sft", 5)
    run_and_kill(arguments, tmp_path / "killed", "rl", 3)  # before the first checkpoint
    run_and_kill(arguments, tmp_path / "killed", "rl", 7)  # between two
    repro(*arguments, cwd=tmp_path / "killed")
    assert records(tmp_path / "calm" / "outputs") == records(tmp_path / "killed" / "outputs")
    for stage in ("sft", "rl"):
        tables = []
        for name in ("calm", "killed"):
            (path,) = (tmp_path / name / "outputs" / "store" / stage).glob("*/metrics.parquet")
            rows = pq.read_table(path).to_pylist()
            assert [r["step"] for r in rows] == list(range(1, len(rows) + 1))
            tables.append([{k: v for k, v in r.items() if "time" not in k and "runtime" not in k and "per_second" not in k} for r in rows])
        assert tables[0] == tables[1]


def test_a_checkpoint_cut_by_a_kill_is_ignored(tmp_path) -> None:
    from repro.training import MARKER, last_checkpoint

    for step, complete in ((2, True), (4, False)):
        folder = tmp_path / "trainer" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if complete:
            (folder / MARKER).touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-2"
    assert not (tmp_path / "trainer" / "checkpoint-4").exists()


def test_a_damaged_stage_is_said_and_built_again(tmp_path) -> None:
    repro(*SHRINK, "rl=none", cwd=tmp_path)
    before = records(tmp_path / "outputs")
    (model,) = (tmp_path / "outputs" / "store" / "pretrain").glob("*/model/model.safetensors")
    data = bytearray(model.read_bytes())
    data[-1] ^= 255
    model.write_bytes(data)
    done = repro(*SHRINK, "rl=none", cwd=tmp_path)
    assert "is corrupt (model/model.safetensors has another checksum); it is removed and built again" in done.stderr
    assert records(tmp_path / "outputs") == before


def test_full_disk_is_one_line_and_the_next_run_resumes(tmp_path) -> None:
    """A real full disk: a tmpfs of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        size = ["model.micro.hidden_size=64", "model.micro.intermediate_size=176"]
        done = repro(*SHRINK, *size, f"paths.outputs={disk}", cwd=tmp_path, check=False)
        assert done.returncode == 2, done.stderr
        assert "disk full" in done.stderr and "resumes" in done.stderr and "Traceback" not in done.stderr
        assert not list(disk.rglob("cell.json"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        repro(*SHRINK, *size, f"paths.outputs={disk}", cwd=tmp_path)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.parametrize(("damage", "words"), [("weights", "cannot be loaded"), ("tokenizer", "no tokenizer that can be loaded")])
def test_a_broken_checkpoint_is_one_line(damage: str, words: str, tmp_path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(ROOT / "repro" / "models" / "base" / "llama" / "model", folder)
    if damage == "weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    else:
        for path in folder.glob("tokenizer*"):
            path.unlink()
    done = repro(*SHRINK, "model.path=broken", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "model.path='broken" in done.stderr and words in done.stderr and "Traceback" not in done.stderr


def test_more_questions_than_there_are_is_one_line(tmp_path, shared_store) -> None:
    done = repro(*SHRINK, "eval.questions=100000", f"paths.store={shared_store}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "eval.questions=100000: split 'math' has only" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", *SHRINK, "rl.steps=500"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while not list((tmp_path / "outputs").rglob("metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted; the same command continues" in text and "Traceback" not in text


def test_a_failed_cell_is_named_and_the_others_go_on(tmp_path, shared_store) -> None:
    done = repro("-m", *SHRINK, f"paths.store={shared_store}", "rl.group_size=2,1", cwd=tmp_path, check=False)
    assert done.returncode == 2  # every failure is bad input
    assert "1 of 2 cells failed" in done.stderr and "rl.group_size=1 is not possible" in done.stderr
    assert "hydra.mode=RUN" in done.stderr and "rl @ 4" in done.stdout


def test_cells_side_by_side_give_the_same_records(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    arguments = ["-m", *SHRINK, "seed=0,1"]
    repro(*arguments, cwd=tmp_path / "one")
    repro(*arguments, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=tmp_path / "two")
    for seed in (0, 1):
        one, two = (pq.read_table(next((tmp_path / n).rglob(f"seed={seed}/records.parquet"))).to_pylist() for n in ("one", "two"))
        assert one == two


def test_base_checkpoints_load_anywhere(tmp_path, shared_store) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    repro(*SHRINK, "rl=none", f"paths.store={shared_store}", cwd=tmp_path)
    folder = next(shared_store.glob("pretrain/*/model"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "find x : D2 C1 B3 A6 =4"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model.generate(**ids, max_new_tokens=4).shape[1] == ids["input_ids"].shape[1] + 4
