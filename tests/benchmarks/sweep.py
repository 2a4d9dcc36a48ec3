"""How planning, submission, status and report grow from 100 to 10,000 cells, against a fake Slurm of small scripts; and the cost of a cell.

The commands are those of a user (``python -m repro.sweep submit``, ``status``, ``wait``), in processes of their own, starts of Python included.
The cells do not run: their states and results are copies of one real micro cell. ``--overhead`` instead runs 4 and 40 real cells by the
local launcher that find all their stages in the store.

    python -m tests.benchmarks.sweep [--sizes 100 1000 10000] [--overhead] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT, SHRINK

ARMS = ["1e-3", "2e-3", "3e-3", "4e-3"]
FAKE = {
    "sbatch": "n=$(cat $FAKE/n 2>/dev/null || echo 1); echo $((n + 1)) > $FAKE/n; echo $n",
    "squeue": 'cat "$FAKE/queue" 2>/dev/null || true',
    "scontrol": "echo 'MaxArraySize = 1001'",
    "scancel": "true",
    "sinfo": "echo debug",
}


def run(cwd: Path, env: dict[str, str], *arguments: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds of a command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise SystemExit(f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def grow(size: int, model: Path, base: Path, env: dict[str, str]) -> list[float]:
    """Seconds of plan and submission, status while all wait, status when all are done, wait with its report."""
    from repro.sweep.folder import SweepFolder

    cwd = base / str(size)
    (cwd / "fake").mkdir(parents=True)
    env = {**env, "FAKE": str(cwd / "fake")}
    arms = f"sft.learning_rate={','.join(ARMS)}"
    line = [*SHRINK, "rl=none", arms, f"seed=range(0,{size // len(ARMS)})", "hydra/launcher=slurm"]
    submit = run(cwd, env, "repro.sweep", "submit", *line)
    sweep = SweepFolder(next(cwd.glob("outputs/sweeps/*/jobs/*")))
    assert len(sweep.cells()) == size
    waiting = [f"{batch.job}|{task}|PENDING|Priority|" for batch in sweep.batches() for task in range(len(batch.cells))]
    (cwd / "fake" / "queue").write_text("\n".join(waiting) + "\n")
    pending = run(cwd, env, "repro.sweep", "status", codes=(3,))
    (cwd / "fake" / "queue").write_text("")
    summary = json.loads((model / "cell.json").read_text())
    for cell in sweep.cells():
        folder = cwd / sweep.info["target"] / cell.folder
        folder.mkdir(parents=True)
        os.link(model / "records.parquet", folder / "records.parquet")
        key = folder.parent.name.rpartition("-")[2]
        seed = int(folder.name.partition("=")[2])
        rate = next(float(text.partition("=")[2]) for text in cell.overrides if text.startswith("sft.learning_rate="))
        config = {**summary["config"], "seed": seed, "sft": {**summary["config"]["sft"], "learning_rate": rate}}
        evaluations = [{**e, "arm_key": e["arm_key"] if e["stage"] == "base" else key} for e in summary["evaluations"]]
        facts = {**summary, "seed": seed, "arm_key": key, "config": config, "evaluations": evaluations}
        (folder / "cell.json").write_text(json.dumps(facts))
        result = {"status": "done", "seconds": summary["seconds"], "stages": summary["stages"]}
        state = {"status": "done", "attempt": 1, "host": "n1", "seconds": summary["seconds"], "result": result}
        sweep.state_path(cell.index).write_text(json.dumps(state))
    done = run(cwd, env, "repro.sweep", "status")
    return [submit, pending, done, run(cwd, env, "repro.sweep", "wait")]


def scaling(sizes: list[int]) -> list[str]:
    """Markdown."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        (base / "bin").mkdir()
        for name, text in FAKE.items():
            (base / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (base / "bin" / name).chmod(0o755)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{base / 'bin'}:{os.environ['PATH']}"}
        run(base, env, "repro", *SHRINK, "rl=none", "hydra.run.dir=model")
        rows = []
        for size in sizes:
            rows.append([size, *grow(size, base / "model", base, env)])
            print(rows[-1], file=sys.stderr, flush=True)
    lines = [
        "| cells | plan and submit, s | status, all waiting, s | status, all done, s | wait and final report, s |",
        "|---:|---:|---:|---:|---:|",
    ]
    return [*lines, *(f"| {row[0]:,} | " + " | ".join(f"{value:.1f}" for value in row[1:]) + " |" for row in rows)]


def processor() -> float:
    """Seconds of processor time of all children so far, theirs included."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def overhead(sizes: tuple[int, ...] = (4, 40)) -> list[str]:
    """Markdown: what a cell costs besides its stages, by sweeps whose cells find every stage in the store: planning, a process each, the start
    of Python and libraries, look-ups with all checksums, records, and the report. Processor time, which other work on the machine does not
    change much."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            cwd, env = Path(temporary), {**os.environ, "PYTHONPATH": str(ROOT)}
            line = ["repro", "-m", *SHRINK, "rl=none", "sft=none", "hydra/launcher=local", "hydra.launcher.n_jobs=1"]
            run(cwd, env, *line, "seed=0")
            before = processor()
            run(cwd, env, *line, f"seed=range(0,{size})")
            spent = processor() - before
            found = [json.loads(path.read_text()) for path in cwd.glob("outputs/sweeps/*/*/seed=*/cell.json")]
            assert len(found) == size and all(stage["reused"] for cell in found for stage in cell["stages"])
        rows.append((size, spent, spent / size))
        print(rows[-1], file=sys.stderr, flush=True)
    lines = ["| cells | sweep, s of processor time | a cell |", "|---:|---:|---:|"]
    return [*lines, *(f"| {size} | {total:.0f} | {each:.1f} |" for size, total, each in rows)]


def main() -> None:
    from repro.manifest import environment
    from repro.report.readme import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--overhead", action="store_true", help="the cost of a cell instead")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    facts = environment()
    lines = overhead() if options.overhead else scaling(options.sizes)
    lines += ["", f"{facts['cpu']}, shared with other work, one run, commit {facts['commit'][:10]}."]
    print("\n".join(lines))
    if options.write:
        name = "sweep_overhead.md" if options.overhead else "sweep_bench.md"
        (RESULTS / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
