"""What one seed of every experiment costs from nothing, from finished cells and their store: ``results/costs.json``.

Every stage that the cells of an experiment's lowest seed read is counted once, with the seconds that building it took, whoever built it. So
experiments that share stages each count them; where all experiments have run, a row of its own says what they cost together.

    python -m repro.report.costs outputs/sweeps
    python -m repro.report.costs outputs/sweeps "shared with other work"      # said beside the machine: such times are upper bounds
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from repro.report.index import EXPERIMENTS, WHOLE
from repro.report.readme import RESULTS


def costs(sweeps: Path, names: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Experiment -> cells, seconds, commit, machine of the finished cells below ``sweeps``; and of ``names`` together, if all of them are there.

    Raises:
        FileNotFoundError: no finished cell there, or a stage of one is not in its store any more.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(sweeps.glob("*/*/seed=*/cell.json")):
        cell = json.loads(path.read_text())
        if cell.get("status") == "done":
            cells.setdefault(cell["config"]["experiment_name"], []).append(cell)
    if not cells:
        raise FileNotFoundError(f"no finished cell below {sweeps}")
    chosen = {name: [cell for cell in several if cell["seed"] == min(c["seed"] for c in several)] for name, several in cells.items()}
    if names and set(names) <= set(chosen):
        chosen[WHOLE] = [cell for name in names for cell in chosen[name]]
    found: dict[str, dict[str, Any]] = {}
    for name, some in chosen.items():
        stages: dict[str, dict[str, Any]] = {}
        for cell in some:
            for stage in cell["stages"]:
                manifest = Path(cell["store"]) / stage["path"] / "manifest.json"
                if not manifest.exists():
                    raise FileNotFoundError(f"{manifest} is gone: run the cells again, their store tells what they cost")
                stages[stage["key"]] = json.loads(manifest.read_text())
        made = [manifest["environment"] for manifest in stages.values()]
        found[name] = {
            "cells": len(some),
            "seconds": sum(manifest["seconds"] for manifest in stages.values()),
            "commit": {(facts["commit"] or "unknown")[:10] for facts in made},
            "machine": {f"{facts['cpu']}, {facts['cores']} cores" + (f", {facts['gpu']}" if facts["gpu"] else "") for facts in made},
        }
    joined = {"commit": " ".join, "machine": "; ".join}
    return {
        name: {**row, "seconds": round(row["seconds"]), **{key: join(sorted(row[key])) for key, join in joined.items()}}
        for name, row in found.items()
    }


def main() -> None:
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1].startswith("-"):
        print("usage: python -m repro.report.costs SWEEPS [NOTE]      writes repro/report/results/costs.json from finished cells")
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        made = costs(Path(sys.argv[1]), [path.stem for path in EXPERIMENTS.glob("*.yaml")])
    except FileNotFoundError as error:
        print(f"repro.report.costs: {error}", file=sys.stderr)
        sys.exit(2)
    for row in made.values() if len(sys.argv) == 3 else ():
        row["machine"] += f", {sys.argv[2]}"
    path = RESULTS / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **made}, indent=1, sort_keys=True) + "\n")
    each = [row["seconds"] for name, row in made.items() if name != WHOLE]
    together = f", {made[WHOLE]['seconds'] / 60:z.0f} together" if WHOLE in made else ""
    print(f"{path}: {len(each)} experiments, {sum(each) / 60:z.0f} minutes if each starts from nothing{together}")


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
