"""What surrounds a cell: its status file, the summary lines, and after the last cell the table of the sweep and the list of failures.

Hydra's launchers stop at the first failed cell, or name only that one. Here a cell never raises inside a sweep: it writes its traceback to
its own log and ``status: failed`` to its ``cell.json``, the others go on, and the end names every failure with its overrides.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)
_exit_code = 0


def exit_code() -> int:
    """2 if this process's run was refused for bad input or a full disk, 1 if a cell failed otherwise, else 0."""
    return _exit_code


def cell_command(overrides: list[str]) -> str:
    """The line that runs this one cell."""
    return shlex.join(["python", "-m", "repro", "hydra.mode=RUN", *overrides])


def quiet_libraries() -> None:
    """Libraries that print at import or warn on every start; errors still show."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def run_in_sweep(config: DictConfig) -> None:
    """Validate and run one cell in Hydra's output folder."""
    from repro.config import validate
    from repro.errors import explain

    hydra = HydraConfig.get()
    folder, command = Path(hydra.runtime.output_dir), cell_command(list(hydra.overrides.task))
    quiet_libraries()
    try:
        validate(config)
        from repro.pipeline import arm_name, plain, run_cell, write_json

        log.info("%s seed %s", arm_name(plain(config)), config.seed)
        os.environ.setdefault("OMP_NUM_THREADS", str(config.threads))
        summary = run_cell(config, folder, command)
        log.info("  done in %.0f s", summary["seconds"])
    except Exception as error:
        from repro.pipeline import write_json

        line = explain(error)
        if line is not None and hydra.mode != RunMode.MULTIRUN:
            refuse(line)
            return
        record = {"status": "failed", "error": line or f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        write_json(folder / "cell.json", {**record, "refused": line is not None, "command": command, "seed": config.seed})
        log.error("  failed: %s\n%s", record["error"], "" if line else record["traceback"])


def refuse(line: str) -> None:
    """Print why a single run does not go on, and end with exit code 2."""
    global _exit_code
    print(f"repro: {line}", file=sys.stderr)
    _exit_code = 2


class SweepReport(Callback):
    """Hydra callback: the table after a run or a sweep, the failures and the exit code.

    It reads the cells' folders, since a launcher may run the cells in other processes or on other machines.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a single run before Hydra makes its folder. (Hydra turns an exception of a callback into a warning; SystemExit passes.)"""
        from repro.config import ConfigError, validate

        try:
            validate(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
        except ConfigError as error:
            refuse(str(error))
            raise SystemExit(exit_code()) from None

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        if exit_code() == 0:  # not refused
            self._report([folder], folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the time by the clock of the folder's own file system: cells finished after it are of this sweep, or as good."""
        marker = Path(config.hydra.sweep.dir) / ".started"
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text("")
        except OSError as error:
            refuse(f"cannot write {marker.parent} ({error.strerror}): choose another folder with paths.outputs=...")
            raise SystemExit(exit_code()) from None
        self.start = marker.stat().st_mtime_ns

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        found = sorted(sweep.glob("*/seed=*/cell.json"))
        self._report([path.parent for path in found if path.stat().st_mtime_ns >= self.start], sweep)

    def _report(self, folders: list[Path], target: Path) -> None:
        global _exit_code
        from repro.report.table import leaderboard, show

        cells = {f: json.loads((f / "cell.json").read_text()) for f in folders if (f / "cell.json").exists()}
        done = [f for f, cell in cells.items() if cell["status"] == "done"]
        failed = {f: cell for f, cell in cells.items() if cell["status"] != "done"}
        if done:
            stages = {(s["stage"], s["key"]): s["seconds"] for f in done for s in cells[f]["stages"]}
            built = {(s["stage"], s["key"]) for f in done for s in cells[f]["stages"] if not s["reused"]}
            rows = leaderboard(done)
            show(rows, target)
            cost = f"{len(built)} built in {sum(stages[key] for key in built):.0f} s, {len(stages) - len(built)} reused"
            print(f"{len(done)} cells, {len(stages)} stages: {cost}")
            print(f"Table: {target / 'table.md'}, {target / 'table.csv'}   Records: {target}/**/records.parquet")
        if failed:
            _exit_code = 2 if all(cell.get("refused") for cell in failed.values()) else 1
            print(f"\n{len(failed)} of {len(cells)} cells failed:", file=sys.stderr)
            for folder, cell in failed.items():
                print(f"  {cell['error']}\n    log:   {folder / 'repro.log'}\n    retry: {cell['command']}", file=sys.stderr)
