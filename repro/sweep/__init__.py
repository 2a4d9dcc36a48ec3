"""What surrounds a cell: its status file, the summary lines, and after the last cell the table of the sweep and the list of failures.

Hydra's launchers stop at the first failed cell, or name only that one. Here a cell never raises inside a sweep: it writes its traceback to
its own log and ``status: failed`` to its ``cell.json``, the others go on, and the end names every failure with its overrides. Each sweep
keeps a ledger of its own cells, so that two sweeps in one folder at the same time report what they ran themselves. The launchers ``slurm``
and ``local`` run every cell as a process under supervision (``repro.sweep.supervise``); ``python -m repro.sweep`` looks after those.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from repro import interrupt
from repro.command import UNREAD, silence
from repro.interrupt import INTERRUPTED, RESULT

log = logging.getLogger(__name__)
LEDGER = "REPRO_LEDGER"  # environment variable: folder in which the cells of this sweep leave their results; inherited by launchers
_exit_code = 0
_detached = False
_ledger: Path | None = None  # of the sweep that this process started


def detach() -> None:
    """The cells of this sweep run on without this process, so there is nothing to report yet."""
    global _detached
    _detached = True


def close() -> None:
    """Remove this process's ledger, however its sweep ended."""
    if _ledger is not None:
        shutil.rmtree(_ledger, ignore_errors=True)


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
    from repro.errors import explain
    from repro.validate import validate

    global _exit_code
    hydra = HydraConfig.get()
    folder, command = Path(hydra.runtime.output_dir).absolute(), cell_command(list(hydra.overrides.task))
    supervised = os.environ.get(RESULT)
    quiet_libraries()
    if supervised:
        interrupt.listen()
    try:
        validate(config)
        from repro.pipeline import arm_name, plain, run_cell

        log.info("%s seed %s", arm_name(plain(config)), config.seed)
        os.environ.setdefault("OMP_NUM_THREADS", str(config.threads))
        summary = run_cell(config, folder, command)
        log.info("  done in %.0f s", summary["seconds"])
        record = {"status": "done", **{key: summary[key] for key in ("seconds", "stages")}}
    except interrupt.Interrupted as error:
        log.info("  stopped (%s); what is done stays", error)
        _exit_code = INTERRUPTED
        return
    except Exception as error:
        line = explain(error)
        if line is not None and hydra.mode != RunMode.MULTIRUN and not supervised:
            _discard_unused(folder, Path(config.paths.store))
            refuse(line)
            return
        record = {"status": "failed", "error": line or f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        record = {**record, "refused": line is not None, "command": command}
        log.error("  failed: %s\n%s", record["error"], "" if line else record["traceback"])
        _write_quietly(folder / "cell.json", record)
    if supervised:
        _exit_code = {"done": 0}.get(record["status"], 2 if record.get("refused") else 1)
        _write_quietly(Path(supervised), record)
    elif LEDGER in os.environ:
        _write_quietly(Path(os.environ[LEDGER]) / f"{uuid.uuid4().hex}.json", {**record, "folder": str(folder)})


def _write_quietly(path: Path, record: dict[str, Any]) -> None:
    """The result of a cell. On a full disk the log line above it is all there is; the sweep then misses the cell and says so."""
    from repro.pipeline import write_json

    try:
        write_json(path, record)
    except OSError as error:
        log.error("  cannot write %s: %s", path, error.strerror or error)


def _discard_unused(folder: Path, store: Path) -> None:
    """Remove the folder of a refused cell that asked the store for nothing: all that is in it is the refusal."""
    from repro.store import gc

    if gc.place_of(store.resolve(), folder).exists() or {path.name for path in folder.iterdir()} - {".hydra", "repro.log"}:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # other cells are in it
            parent.rmdir()


def check_folders(config: DictConfig, own: str) -> None:
    """Raises ConfigError for a folder that cannot be made or written: output, store, W&B, or ``hydra.<own>.dir``."""
    from repro.config import ConfigError

    keys = ["outputs", "store", *(["wandb"] if config.tracking.name == "wandb" else [])]
    folders = {f"paths.{key}": config.paths[key] for key in keys}
    for key, name in {**folders, f"hydra.{own}.dir": config.hydra[own].dir}.items():
        folder = Path(name).absolute()
        probe = folder / f".probe-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except (OSError, ValueError) as error:
            reason = f"{getattr(error, 'strerror', None) or error}"
            raise ConfigError(f"{key}={name!r} cannot be written ({reason}): choose another folder with paths.outputs=...") from None


def refuse(line: str) -> None:
    """Print why a single run does not go on, and end with exit code 2."""
    global _exit_code
    print(f"repro: {line}", file=sys.stderr)
    _exit_code = 2


@contextlib.contextmanager
def _refusing():
    """End with a line and exit code 2 for what the user can mend. Hydra turns any other exception of a callback into a warning."""
    from repro.errors import explain

    try:
        yield
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        refuse(line)
        raise SystemExit(exit_code()) from None


class SweepReport(Callback):
    """Hydra callback: the table after a run or a sweep, the failures and the exit code.

    It reads the cells' folders, since a launcher may run the cells in other processes or on other machines.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a single run before Hydra makes its folder."""
        from repro.sweep.whole import check_choices
        from repro.validate import validate

        os.environ.pop(LEDGER, None)
        with _refusing():
            check_choices(config)
            validate(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
            check_folders(config, "run")

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        if exit_code() == 0 and RESULT not in os.environ:  # not refused, not one of many
            folder = Path(config.hydra.runtime.output_dir)
            self._guarded(lambda: self._report(self._own_cell(folder), folder))

    def _own_cell(self, folder: Path) -> list[dict[str, Any]]:
        path = folder / "cell.json"
        return [{**json.loads(path.read_text()), "folder": str(folder)}] if path.exists() else []  # none: the cell raised

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the ledger of this sweep."""
        global _ledger
        from repro.sweep.whole import check_choices

        with _refusing():
            check_choices(config)
            check_folders(config, "sweep")
            self.ledger = _ledger = Path(config.hydra.sweep.dir).absolute() / f".sweep-{uuid.uuid4().hex[:12]}"
            self.ledger.mkdir()
        os.environ[LEDGER] = str(self.ledger)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if not _detached and sys.exc_info()[0] is None:  # Hydra 1.4 also calls this where the sweep was refused
            self._guarded(lambda: self._report(self._cells(), self.ledger.parent))

    def _cells(self) -> list[dict[str, Any]]:
        """Results of this sweep's cells by folder; of a cell that ran twice (two equal sets of overrides) the last."""
        found = [json.loads(path.read_text()) for path in sorted(self.ledger.glob("*.json"), key=lambda p: p.stat().st_mtime_ns)]
        return [cell for _, cell in sorted({cell["folder"]: cell for cell in found}.items())]

    def _guarded(self, report: Callable[[], None]) -> None:
        """Hydra turns an exception in a callback into a warning and exit code 0; a report that fails must not look like success."""
        global _exit_code
        from repro.errors import explain

        try:
            report()
        except BrokenPipeError:
            if not silence():
                raise
            _exit_code = _exit_code or UNREAD
        except Exception as error:
            line = explain(error)
            _exit_code = 2 if line else 1
            print(f"repro: {line}" if line else traceback.format_exc(), file=sys.stderr)

    def _report(self, found: list[dict[str, Any]], target: Path) -> None:
        global _exit_code
        _exit_code = report(found, target) or _exit_code


def report(found: list[dict[str, Any]], target: Path) -> int:
    """Print the table of the cells that are done and every failure; returns the exit code.

    found: results of cells, each with ``folder`` and ``status``; a failed one has ``error`` and ``command``, and where it is known ``host``,
    ``job``, ``log`` and ``last``, the end of that log.
    """
    from repro.report.table import leaderboard, show

    cells = {Path(cell["folder"]): cell for cell in found}
    done = [f for f, cell in cells.items() if cell["status"] == "done"]
    failed = {f: cell for f, cell in cells.items() if cell["status"] != "done"}
    code = 0
    if failed:
        code = 2 if all(cell.get("refused") for cell in failed.values()) else 1
        print_failures(failed, len(cells))  # before anything below can go wrong
    if not cells:
        code = 2
        print(
            "repro: no cell ran, or none could write its result; check the sweep's overrides (an empty range?) and the disk",
            file=sys.stderr,
        )
    if done:
        stages = {(s["stage"], s["key"]): s["seconds"] for f in done for s in cells[f]["stages"]}
        built = {(s["stage"], s["key"]) for f in done for s in cells[f]["stages"] if not s["reused"]}
        rows = leaderboard(done)
        if rows:  # a search for traces has none; its table is in its log
            show(rows, target)
        cost = f"{len(built)} built in {sum(stages[key] for key in built):.0f} s, {len(stages) - len(built)} reused"
        print(f"{len(done)} cells, {len(stages)} stages: {cost}")
        tables = f"Table: {target / 'table.md'}, {target / 'table.csv'}   " if rows else ""
        print(f"{tables}Records: {target}/**/records.parquet")
    return code


def print_failures(failed: dict[Path, dict[str, Any]], total: int) -> None:
    """Every failed cell: what went wrong, where, the end of its log, and the command that tries it again."""
    print(f"\n{len(failed)} of {total} cells failed:", file=sys.stderr)
    for folder, cell in failed.items():
        print(f"  {cell['error']}", file=sys.stderr)
        if cell.get("overrides"):
            print(f"    cell:  {' '.join(cell['overrides'])}", file=sys.stderr)
        if cell.get("host"):
            print(f"    where: {cell['host']}" + (f", job {cell['job']}" if cell.get("job") else ""), file=sys.stderr)
        for line in cell.get("last", []):
            print(f"    | {line}", file=sys.stderr)
        print(f"    log:   {cell.get('log') or folder / 'repro.log'}\n    retry: {cell['command']}", file=sys.stderr)
