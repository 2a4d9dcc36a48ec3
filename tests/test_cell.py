"""Whole cells, as a user runs them: every experiment, reuse, seeds, kills, damage, failures."""

from __future__ import annotations

import csv
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

from repro.claims import declared
from repro.config import plain
from repro.store import file_hash
from tests.conftest import ROOT, SHRINK, repro
from tests.forked import forked

EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))


def cell_folder(outputs: Path) -> Path:
    (found,) = outputs.glob("sweeps/*/*/seed=*")
    return found


def records(outputs: Path) -> list[dict]:
    return pq.read_table(cell_folder(outputs) / "records.parquet").to_pylist()


# What one seed of an experiment costs beyond its shape: an evaluation of one benchmark, few steps.
TINY = {
    **dict(override.split("=", 1) for override in SHRINK),
    **{"rl.steps": "2", "rl.eval_steps": "1", "eval.questions": "2", "eval.benchmarks": "[micro_math]", "seed": "0"},
}
# Arms that differ from these in numbers only; tests/plan composes and validates every one of them.
SHAPES = {
    "cosine_hyperparameters": ["reward=cosine_repetition,cosine_a"],
    "discount_factors": ["reward=discount_99_99,discount_1_99_equal"],
    "context_window": ["rl.max_completion_length=16,24", "rl.steps=2"],
    "model_size": ["model=micro_llama_small,micro_llama_large"],
    "sft_scaling": ["sft.samples_per_problem=1,2", 'hydra.sweeper.skip=["sft=short sft.samples_per_problem=2"]'],
    "verifier_noise": ["verifier.noise.false_positive=0.2", "verifier.noise.false_negative=0.0,0.2"],
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs(experiment: str, tmp_path, shared_store) -> None:
    settings = {**TINY, **dict(override.split("=", 1) for override in SHAPES.get(experiment, []))}
    line = [f"{key}={value}" for key, value in settings.items()]
    done = forked(f"+experiment={experiment}", *line, f"paths.store={shared_store}", cwd=tmp_path)
    cells = {p: json.loads(p.read_text()) for p in (tmp_path / "outputs" / "sweeps" / experiment).glob("*/seed=*/cell.json")}
    assert cells and all(cell["status"] == "done" for cell in cells.values())
    assert len(cells) == 3 or experiment != "sft_scaling"  # one is skipped
    assert "rl @ 2" in done.stdout or experiment in ("sft_scaling", "pretraining_traces")
    for path, cell in cells.items():
        rows = pq.read_table(path.with_name("records.parquet")).to_pylist()
        assert len(rows) == len(cell["evaluations"]) * 2 * 2  # questions x samples
        assert len({(r["stage"], r["step"], r["benchmark"], r["question_id"], r["sample_index"]) for r in rows}) == len(rows)
        assert cell["command"].startswith("python -m repro hydra.mode=RUN") and "environment" in cell


def test_a_sweep_of_seeds_done_again_only_reads(tmp_path, shared_store) -> None:
    """In real new processes, all benchmarks, two seeds: two arms, and the table of the second run is that of the first."""
    arguments = ["+experiment=reward_design", *SHRINK, "reward=classic,cosine_repetition", "seed=0,1", f"paths.store={shared_store}"]
    first, again = repro(*arguments, cwd=tmp_path), repro(*arguments, cwd=tmp_path)
    found = list((tmp_path / "outputs" / "sweeps" / "reward_design").glob("*/seed=*/records.parquet"))
    assert len(found) == 4
    for path in found:
        evaluations = json.loads(path.with_name("cell.json").read_text())["evaluations"]
        assert pq.read_metadata(path).num_rows == len(evaluations) * 5 * 3 * 2  # benchmarks x questions x samples
    logged = {name for path in shared_store.glob("rl/*/metrics.parquet") for name in pq.read_schema(path).names}
    for claim in declared.load():
        for scale in ("micro", "single_gpu", "paper"):
            assert claim.at(scale).metric.get("column", "accuracy") in logged, f"{claim.id}: no such metric"
    assert "rl @ 4" in first.stdout and "0 built in 0 s" in again.stdout
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
        found = list((cwd / "outputs" / "store" / stage).glob(".*.work/.resume/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= lines:
            break
        time.sleep(0.01)
    assert process.poll() is None, "the cell ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_kill_9_in_sft_and_rl_changes_nothing(tmp_path) -> None:
    arguments = [*SHRINK, "sft=long", "data.train_size=40", "sft.save_steps=3", "rl.steps=9", "rl.save_steps=4", "rl.eval_steps=3"]
    arguments += ["rl=ppo", "rl.epochs=2", "rl.minibatches=2", "reward=cosine_repetition", "rl.kl=0.01"]
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


def test_a_checkpoint_cut_by_a_kill_or_damaged_is_ignored(tmp_path) -> None:
    from types import SimpleNamespace

    from repro.checkpoints import MARKER, Marker, last_checkpoint

    trainer = tmp_path / ".resume" / "trainer"
    for step in (2, 4, 6):
        folder = trainer / f"checkpoint-{step}" / "shards"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_bytes(b"state" * step)
        alone = SimpleNamespace(wait_for_everyone=lambda: None)
        Marker().on_save(SimpleNamespace(output_dir=trainer, distributed_state=alone), SimpleNamespace(global_step=step), None)
    assert last_checkpoint(tmp_path).name == "checkpoint-6"
    (trainer / "checkpoint-6" / MARKER).unlink()  # killed before the end of its writing
    (trainer / "checkpoint-4" / "shards" / "optimizer.pt").write_bytes(b"stat")
    assert last_checkpoint(tmp_path).name == "checkpoint-2"
    assert [path.name for path in trainer.iterdir()] == ["checkpoint-2"]


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


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("weights", "cannot be loaded"),
        ("tokenizer", "no tokenizer that can be loaded"),
        ("a layer", "lack or misshape 9 tensors that its config.json asks for (model.layers.1"),
        ("more layers", "lack or misshape"),
        ("wider", "mlp"),
        ("a number", "norm.weight holds numbers that are not finite"),
    ],
)
def test_a_broken_checkpoint_is_one_line(damage: str, words: str, tmp_path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(ROOT / "repro" / "models" / "base" / "llama" / "model", folder)
    if damage == "weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    elif damage == "tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    elif damage == "a layer":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("model.layers.1.")}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    elif damage == "a number":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][0] = float("nan")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        change = {"num_hidden_layers": 5} if damage == "more layers" else {"intermediate_size": 200}
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, **change}))
    done = repro(*SHRINK, "model.path=broken", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "model.path='broken" in done.stderr and words in done.stderr and "Traceback" not in done.stderr


def test_generation_settings_of_a_checkpoint_change_no_sample(tmp_path, shared_store) -> None:
    """A repetition penalty in the checkpoint's own generation_config.json would change every answer, unseen."""
    found = []
    for name, extra in (
        ("plain", {}),
        ("penalty", {"repetition_penalty": 5.0, "min_p": 0.3, "temperature": 0.1, "suppress_tokens": [5, 6]}),
    ):
        folder = tmp_path / name
        shutil.copytree(ROOT / "repro" / "models" / "base" / "llama" / "model", folder)
        settings = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps({**settings, **extra}))
        repro(*SHRINK, f"model.path={folder}", "rl=none", f"paths.outputs={tmp_path / name / 'out'}", cwd=tmp_path)
        found.append([row["response"] for row in records(tmp_path / name / "out")])
    assert found[0] == found[1]


@pytest.mark.parametrize("key", ["eval.temperature=0.7,1.0", "model.micro.layers=1,2", "sft.learning_rate=1e-3,3e-4"])
def test_rows_of_different_configurations_are_never_seeds_of_one(key: str, tmp_path, shared_store) -> None:
    done = repro("-m", *SHRINK, "rl=none", "sft=long", key, "seed=0,1", f"paths.store={shared_store}", cwd=tmp_path)
    with (tmp_path / "outputs" / "sweeps" / "custom" / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "sft"]
    assert [row["seeds"] for row in rows] == ["2", "2"] and len({row["arm"] for row in rows}) == 2, done.stdout
    assert all(f"{key.partition('=')[0]}=" in row["arm"] for row in rows)


def test_a_damaged_shipped_base_is_said_and_not_trained_anew(tmp_path, monkeypatch) -> None:
    from repro.config import ConfigError
    from repro.models import base
    from repro.store import Store
    from tests.test_config import composed

    monkeypatch.setattr(base, "HERE", tmp_path / "base")
    shutil.copytree(ROOT / "repro" / "models" / "base" / "llama", tmp_path / "base" / "llama")
    model = plain(composed())["model"]
    sound = base.obtain(model, Store(tmp_path / "store"), 1)
    weights = tmp_path / "base" / "llama" / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 255
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match="git checkout"):
        base.obtain(model, Store(tmp_path / "store"), 1)
    # another checkpoint under the same recipe is another stage
    manifest = tmp_path / "base" / "llama" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"]["model/model.safetensors"]["sha256"] = file_hash(weights)
    manifest.write_text(json.dumps(facts))
    assert base.obtain(model, Store(tmp_path / "store"), 1).stage.key != sound.stage.key


def test_other_threads_are_other_stages(tmp_path) -> None:
    """A sum over threads has other last bits, so what two threads made is not what one thread makes."""
    for threads in (1, 2):
        repro(*SHRINK, "rl=none", f"threads={threads}", cwd=tmp_path)
    assert len(list((tmp_path / "outputs" / "store" / "eval").iterdir())) == 2
    assert len(list((tmp_path / "outputs" / "sweeps" / "custom").glob("*/seed=0"))) == 2


def test_no_chain_fits_is_one_line(tmp_path, shared_store) -> None:
    done = repro(*SHRINK, "sft=long", "sft.max_length=5", f"paths.store={shared_store}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "sft.max_length=5 leaves none of" in done.stderr and "Traceback" not in done.stderr


def test_two_sweeps_at_once_in_one_folder_report_their_own_cells(tmp_path, shared_store) -> None:
    common = ["-m", *SHRINK, "rl=none", f"paths.store={shared_store}"]
    repro(*common, cwd=tmp_path)  # the base is there
    lines = (["seed=0,1"], ["seed=2", "rl.group_size=2", "eval.questions=3,100000"])
    jobs = [
        subprocess.Popen([sys.executable, "-m", "repro", *common, *line], cwd=tmp_path, stdout=-1, stderr=-1, text=True, env=os.environ)
        for line in lines
    ]
    (good, good_err), (bad, bad_err) = (job.communicate(timeout=200) for job in jobs)
    assert jobs[0].returncode == 0 and "2 cells" in good and "failed" not in good_err
    assert jobs[1].returncode == 2 and "1 cells" in bad and "1 of 2 cells failed" in bad_err
    assert not list((tmp_path / "outputs").rglob(".sweep-*"))


@pytest.mark.parametrize("line", [["seed=range(0)"], ["model.name=a/b"]])
def test_a_sweep_of_nothing_is_not_a_success(line: list[str], tmp_path) -> None:
    done = repro("-m", *SHRINK, *line, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "repro" in done.stderr and "Traceback" not in done.stderr
    assert "no cell ran" in done.stderr or "model.name='a/b'" in done.stderr


def test_the_multirun_flag_may_stand_anywhere(tmp_path, shared_store) -> None:
    done = repro(*SHRINK[:4], "-m", *SHRINK[4:], "rl=none", "seed=0,1", f"paths.store={shared_store}", cwd=tmp_path)
    assert "2 cells" in done.stdout


def test_a_report_that_fails_is_not_a_success(tmp_path, shared_store) -> None:
    """Hydra swallows what a callback raises; here the table's own file cannot be written."""
    (tmp_path / "outputs" / "sweeps" / "custom" / "table.md").mkdir(parents=True)
    done = repro("-m", *SHRINK, "rl=none", f"paths.store={shared_store}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "table.md" in done.stderr and "Traceback" not in done.stderr


def test_more_questions_than_there_are_is_one_line(tmp_path, shared_store) -> None:
    done = repro(*SHRINK, "eval.questions=100000", f"paths.store={shared_store}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "eval.questions=100000: split 'math' has only" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", *SHRINK, "rl.steps=500"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # A shell's background job hands its children a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while not list((tmp_path / "outputs").rglob("metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in text
    assert text.splitlines()[-1] == "repro: interrupted; the same command continues where it was"


def test_ctrl_c_while_importing_is_one_line(tmp_path) -> None:
    """The interpreter tells of every import; SIGINT comes with that of Hydra."""
    process = subprocess.Popen(
        [sys.executable, "-v", "-m", "repro", *SHRINK],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    for line in process.stderr:
        if line.startswith("import 'hydra.errors'"):
            process.send_signal(signal.SIGINT)
            break
    text = process.stderr.read()
    assert process.wait(60) == 130 and "repro: interrupted" in text and "Traceback" not in text
    assert not list(tmp_path.iterdir())


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
