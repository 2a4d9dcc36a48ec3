"""What ``python -m repro ... hydra/launcher=slurm`` (or ``local``) does: plan, submit, and stay until the end unless detached."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from repro.sweep import LEDGER, detach
from repro.sweep.folder import SweepFolder
from repro.sweep.planner import plan
from repro.sweep.status import counts, results, wait
from repro.sweep.submit import start_pool, submit
from repro.sweep.whole import check_cell


def launch(
    name: str, settings: dict[str, Any], detached: bool, loader: Any, config: DictConfig, job_overrides: Sequence[Sequence[str]]
) -> None:
    """Run the cells of ``job_overrides``; their results go to the ledger of this sweep, from which its report is made."""

    def compose(overrides: Sequence[str]) -> DictConfig:
        cell = loader.load_sweep_config(config, list(overrides))
        check_cell(config, cell)
        return cell

    cells, target = plan(job_overrides, compose, lambda key: bool(loader.get_group_options(key)))
    settings = {**settings, "threads": int(config.threads)}
    sweep = SweepFolder.create(target, cells, name, settings, search_path(config))
    try:
        submit(sweep, [cell.index for cell in cells])
    except BaseException:
        if not sweep.batches():  # nothing of it runs
            shutil.rmtree(sweep.root)
        raise
    where = shlex.quote(os.path.relpath(sweep.root))
    print(f"{len(cells)} cells: python -m repro.sweep status|wait|cancel|retry {where}", file=sys.stderr, flush=True)
    if detached:
        if name == "local":
            start_pool(sweep)
        detach()
        return
    finish(sweep)


def finish(sweep: SweepFolder) -> None:
    """Stay until the end of a sweep and leave its results in the ledger."""
    if sweep.info["launcher"] == "local":
        from repro.sweep.local import run_here

        run_here(sweep)
    try:
        views = wait(sweep)
    except KeyboardInterrupt:
        where = shlex.quote(os.path.relpath(sweep.root))
        print(f"\nThe jobs go on: python -m repro.sweep wait {where} waits again, cancel ends them", file=sys.stderr)
        detach()
        raise
    print(f"{sweep.name}: {counts(views)}", file=sys.stderr)
    for number, result in enumerate(results(sweep, views)):
        (Path(os.environ[LEDGER]) / f"{number}.json").write_text(json.dumps(result))


def search_path(config: DictConfig) -> list[str]:
    """``--config-dir`` of this run for its cells. (Folders inside conf/ are part of the snapshot.)"""
    return (
        [
            f"hydra.searchpath=[{','.join('file://' + source.path for source in config.hydra.runtime.config_sources if source.provider == 'command-line')}]"
        ]
        if any(source.provider == "command-line" for source in config.hydra.runtime.config_sources)
        else []
    )
