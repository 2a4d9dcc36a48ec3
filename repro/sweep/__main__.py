"""Sweeps that outlive the terminal: submit, look, wait, cancel, retry; from any node that sees the folder.

    python -m repro.sweep submit +experiment=reward_design hydra/launcher=slurm     # returns at once, prints the sweep's folder
    python -m repro.sweep status [SWEEP] [--watch]                                   # table of the cells; --json for programs
    python -m repro.sweep wait [SWEEP]                                               # until the end, then table and failures as in the foreground
    python -m repro.sweep cancel [SWEEP]
    python -m repro.sweep retry [SWEEP] [CELL ...] [key=value ...]                   # what is not done, with the code of now

SWEEP is a folder outputs/sweeps/<experiment>/jobs/<id>; without it, the newest below outputs/sweeps of this folder. Exit codes: 0 all cells
are done (or submitted), 1 a cell failed, 2 bad input, 3 (status) cells are still to come.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
from dataclasses import asdict, replace
from pathlib import Path

from repro.config import ConfigError
from repro.sweep import slurm
from repro.sweep.folder import SweepFolder
from repro.sweep.status import Watch, counts, give_up, results, table, wait


def find(given: str | None) -> SweepFolder:
    if given is not None:
        return SweepFolder(given)
    found = sorted(Path("outputs/sweeps").glob("*/jobs/*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError("no sweep below outputs/sweeps: give its folder, outputs/sweeps/<experiment>/jobs/<id>")
    return SweepFolder(found[-1].parent)


def submit(arguments: list[str]) -> int:
    """``python -m repro`` with these arguments, detached; Slurm where there is one, if no launcher is chosen."""
    from repro.__main__ import main as run

    if not any(text.startswith("hydra/launcher=") for text in arguments):
        arguments = [*arguments, f"hydra/launcher={'slurm' if shutil.which('sbatch') else 'local'}"]
    flags = [] if {"-m", "--multirun"} & set(arguments) else ["-m"]
    sys.argv = ["python -m repro", *flags, *arguments, "hydra.launcher.detach=true"]
    return run()


def status(options: argparse.Namespace) -> int:
    sweep = find(options.sweep)
    if options.watch:
        return ending(sweep)
    watch = Watch(sweep)
    views = watch.settle()
    if options.json:
        rows = [{**asdict(v.cell), "status": v.status, "detail": v.detail, "job": v.task, "attempt": v.state.attempt} for v in views]
        print(json.dumps(rows, indent=1))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 160).print(table(sweep, views, options.most))
        if watch.trouble:
            print(f"Slurm does not answer ({watch.trouble}); what the cells say of themselves is above", file=sys.stderr)
    if not all(view.final for view in views):
        return 3
    return 0 if all(view.status == "done" for view in views) else 1


def ending(sweep: SweepFolder) -> int:
    """Wait, then the report of the foreground."""
    from repro.sweep import report

    views = wait(sweep)
    print(f"{sweep.name}: {counts(views)}", file=sys.stderr)
    return report(results(sweep, views), Path(sweep.info["cwd"]) / sweep.info["target"])


def cancel(options: argparse.Namespace) -> int:
    """End what waits or runs; done cells stay done."""
    sweep = find(options.sweep)
    if sweep.info["launcher"] == "slurm":
        slurm.cancel([batch.job for batch in sweep.batches() if batch.job])
    else:
        others = {pool["host"] for pool in sweep.pools()} - {socket.gethostname()}
        if others:
            raise ConfigError(f"cells of this sweep run on {', '.join(others)}: cancel them there")
        for pid in Watch(sweep).pools():
            os.kill(pid, signal.SIGTERM)
    watch = Watch(sweep)
    views = watch.look()
    if watch.trouble:
        raise slurm.SlurmError(watch.trouble)
    failed = [view for view in views if view.status == "running" and view.state.status == "failed"]  # their jobs are ending
    open_ = [view for view in views if not view.final and view not in failed]
    for view in open_:
        give_up(sweep, view, "cancelled", "cancelled")
    print(
        f"{sweep.name}: {len(open_)} cells cancelled; python -m repro.sweep retry {shlex.quote(os.path.relpath(sweep.root))} runs them again"
    )
    return 0


def retry(options: argparse.Namespace) -> int:
    """Submit again what is neither done nor under way. ``key=value`` changes resources of these cells."""
    from repro.sweep.submit import start_pool
    from repro.sweep.submit import submit as hand_over

    numbers = [text for text in options.rest if text.isdigit()]
    changes = [text for text in options.rest if not text.isdigit()]
    given = options.sweep
    if given is not None and (given.isdigit() or "=" in given) and not Path(given).exists():
        numbers, changes = ([given], changes) if given.isdigit() else (numbers, [given, *changes])
        numbers += [text for text in options.rest if text.isdigit()] if given.isdigit() else []
        given = None
    sweep = find(given)
    views = Watch(sweep).settle()
    wanted = {int(text) for text in numbers} or {view.cell.index for view in views}
    unknown = wanted - {view.cell.index for view in views}
    if unknown:
        raise ConfigError(f"cell {min(unknown)} does not exist: the sweep has cells 0 to {len(views) - 1}")
    again = [view for view in views if view.cell.index in wanted and view.final and view.status != "done"]
    if not again:
        print(f"{sweep.name}: nothing to retry ({counts(views)})")
        return 0
    sweep.change_resources([view.cell.index for view in again], changes)
    for view in again:
        sweep.write_state(view.cell.index, replace(view.state, status="pending", reason="", timeouts=0, result={}))
    hand_over(sweep, [view.cell.index for view in again])
    if sweep.info["launcher"] == "local":
        start_pool(sweep)
    print(f"{sweep.name}: {len(again)} cells submitted again; python -m repro.sweep wait {shlex.quote(os.path.relpath(sweep.root))}")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m repro.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True, metavar="submit|status|wait|cancel|retry")
    commands.add_parser("submit", help="overrides as for python -m repro", add_help=False)
    for name in ("status", "wait", "cancel", "retry"):
        one = commands.add_parser(name)
        one.add_argument("sweep", nargs="?", help="its folder; the newest by default")
        if name == "status":
            one.add_argument("--watch", action="store_true", help="live table until the end")
            one.add_argument("--json", action="store_true")
            one.add_argument("--most", type=int, default=30, help="lines of the table")
        if name == "retry":
            one.add_argument("rest", nargs="*", help="cells (default: all that are not done) and resources.<stage>.<key>=<value>")
    return made


def main() -> int:
    """Run one of the subcommands and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if sys.argv[1:2] == ["submit"] and not {"-h", "--help"} & set(sys.argv[2:]):
            return submit(sys.argv[2:])
        options = parser().parse_args()
        actions = {"status": status, "cancel": cancel, "retry": retry, "wait": lambda o: ending(find(o.sweep))}
        return actions[options.command](options)
    except slurm.SlurmError as error:
        print(f"repro.sweep: Slurm: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main, interrupted="the cells go on; `wait` waits again")
