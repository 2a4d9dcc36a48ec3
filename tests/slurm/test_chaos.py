"""Fault injection: 200 random kills over a sweep of 20 cells on two nodes. Nothing may be lost, doubled or left behind.

    pytest tests/slurm/test_chaos.py -s                       # half an hour; CHAOS_SEED, CHAOS_KILLS choose others

A kill is SIGKILL to a cell, to one rank or the launcher of a stage of two processes, to a supervisor, or to a whole node (slurmd with all
that runs there; it comes back after a while). What failed is retried, as a user would, until all is done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repro.store.gc import finished
from repro.sweep import __main__ as main
from repro.sweep.folder import SweepFolder
from repro.sweep.status import Watch
from tests.conftest import SHRINK, repro
from tests.slurm.cluster import LAUNCHER, command, command_lines, kill_node, processes, queue, slurm, start_node, sweep_of, until

SEED, KILLS = int(os.environ.get("CHAOS_SEED", "0")), int(os.environ.get("CHAOS_KILLS", "200"))
NODES = ("n1", "n2")
CELLS, PAIRS = 20, 4  # cells, and how many of them train with two processes
SMALL = [text for text in SHRINK if not text.startswith("model.micro.")]  # the shipped base: its training is too long to live under fire
ARMS = [*SMALL, "rl=none", "sft=long", "launch=ddp", "launch.processes=1,2", f"seed=range(0,{CELLS - PAIRS})"]
SKIPPED = ", ".join(f'"launch.processes=2 seed={seed}"' for seed in range(PAIRS, CELLS - PAIRS))
ARMS += [f"hydra.sweeper.skip=[{SKIPPED}]"]
ARMS += ["eval.benchmarks=[micro_math]"]
WEIGHTS = {"cell": 9, "rank": 4, "supervisor": 5, "node": 2}
PAUSE = float(os.environ.get("CHAOS_PAUSE", "4"))  # seconds between two kills, on average: a third of a cell


def tables(folder: Path) -> dict[str, list[dict]]:
    """Cell -> its records."""
    return {
        str(p.parent.relative_to(folder)): pq.read_table(p).to_pylist() for p in folder.glob("outputs/sweeps/custom/*/*/records.parquet")
    }


class Chaos:
    """Kills at random what belongs to the sweep in ``cwd``."""

    def __init__(self, cluster: Path, cwd: Path) -> None:
        self.cluster, self.cwd, self.sweep = cluster, cwd, sweep_of(cwd)
        self.dice = random.Random(SEED)
        self.killed: Counter[str] = Counter()
        self.down: dict[str, float] = {}  # dead node -> when it comes back

    def victims(self) -> dict[str, list[int]]:
        lines = command_lines()
        own = {pid: line for pid, line in lines.items() if str(self.cwd) in line}
        return {
            "supervisor": sorted(pid for pid, line in own.items() if "repro.sweep.supervise" in line),
            "rank": sorted(pid for pid, line in own.items() if "repro.worker" in line),
            "cell": sorted(pid for pid, line in own.items() if "-m repro hydra.mode=RUN" in line),
        }

    def strike(self) -> None:
        """One kill, if there is something to kill."""
        self.revive()
        kind = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        found = self.victims()
        if kind == "node":
            if not found["cell"] or self.down:
                return
            node = self.dice.choice(NODES)
            kill_node(node)
            self.down[node] = time.monotonic() + self.dice.uniform(1, 40)
        else:
            if not found[kind]:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(found[kind]), signal.SIGKILL)
        self.killed[kind] += 1

    def revive(self, now: bool = False) -> None:
        for node, when in list(self.down.items()):
            if now or time.monotonic() > when:
                start_node(self.cluster, node)
                del self.down[node]


def retry(sweep: Path) -> Counter[str]:
    """``python -m repro.sweep retry``, in this process; how the cells stood before."""
    folder = SweepFolder(sweep)
    stood = Counter(view.status for view in Watch(folder).settle())
    if stood["failed"] + stood["lost"] + stood["cancelled"]:
        main.retry(argparse.Namespace(sweep=str(sweep), rest=[]))
    return stood


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_random_kills_lose_nothing(cluster, tmp_path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    start = time.monotonic()
    command("submit", *ARMS, *LAUNCHER, cwd=wild)
    chaos = Chaos(cluster, wild)
    stood: Counter[str] = Counter()
    try:
        while chaos.killed.total() < KILLS and stood["done"] < CELLS:
            before = chaos.killed.total()
            for _ in range(6):
                time.sleep(chaos.dice.expovariate(1 / PAUSE))
                if chaos.killed.total() < KILLS:
                    chaos.strike()
            stood = retry(chaos.sweep)
            if chaos.killed.total() // 20 != before // 20:
                print(f"{time.monotonic() - start:.0f} s: {dict(chaos.killed)}, {dict(stood)}", file=sys.stderr, flush=True)
    finally:
        chaos.revive(now=True)
    while stood["done"] < CELLS:
        command("wait", cwd=wild, check=False)
        stood = retry(chaos.sweep)
    repro("-m", *ARMS, "hydra/launcher=local", cwd=calm, timeout=3600)
    attempts = [json.loads((chaos.sweep / "state" / f"{i}.json").read_text())["attempt"] for i in range(CELLS)]
    print(f"{chaos.killed.total()} kills {dict(chaos.killed)}, {sum(attempts)} attempts of {CELLS} cells, {time.monotonic() - start:.0f} s")

    assert chaos.killed.total() == KILLS, f"the sweep was done after {chaos.killed.total()} kills: make the cells longer"
    want, got = tables(calm), tables(wild)
    assert len(want) == CELLS and got.keys() == want.keys()
    assert all(got[cell] == want[cell] for cell in want)
    verified = repro_store("verify", wild)
    names = {str(path.relative_to(wild / "outputs/store")) for path in finished(wild / "outputs/store")}
    assert verified == f"{len(names)} of {len(names)} stages are sound\n"
    assert names == {str(path.relative_to(calm / "outputs/store")) for path in finished(calm / "outputs/store")}
    assert not processes(str(wild)) and not queue()
    assert not list((wild / "outputs/store").glob("*/.*.lock")) and not list((wild / "outputs/store").glob("*/.*.work"))
    try:
        until(lambda: slurm("sinfo", "-h", "-p", "debug", "-o", "%T %D").split() == ["idle", "2"], "both nodes idle", 120)
    except AssertionError as error:
        raise AssertionError(slurm("scontrol", "show", "nodes") + slurm("squeue", "--states=all")) from error


def repro_store(name: str, cwd: Path) -> str:
    line = [sys.executable, "-m", "repro.store", name]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False).stdout
