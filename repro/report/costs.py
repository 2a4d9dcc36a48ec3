"""What one seed of every experiment cost, from the ``cell.json`` of finished cells: ``results/costs.json``.

Seconds are those of stages that were built for the experiment, not of reused ones; so a sweep over experiments that share a store counts
every stage once, in the experiment that built it. Started again on a finished sweep, a cell reuses everything: copy the costs first.

    python -m repro.report.costs outputs/sweeps
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from repro.report.readme import RESULTS


def costs(sweeps: Path) -> dict[str, dict[str, Any]]:
    """Experiment -> cells, seconds, commit, machine of the finished cells below ``sweeps``.

    Raises:
        FileNotFoundError: no finished cell there.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(sweeps.glob("*/*/seed=*/cell.json")):
        cell = json.loads(path.read_text())
        if cell.get("status") != "done":
            continue
        made = cell["environment"]
        row = found.setdefault(cell["config"]["experiment_name"], {"cells": 0, "seconds": 0.0, "commit": set(), "machine": set()})
        row["cells"] += 1
        row["seconds"] += sum(stage["seconds"] for stage in cell["stages"] if not stage["reused"])
        row["commit"].add((made["commit"] or "unknown")[:10])
        row["machine"].add(f"{made['cpu']}, {made['cores']} cores" + (f", {made['gpu']}" if made["gpu"] else ""))
    if not found:
        raise FileNotFoundError(f"no finished cell below {sweeps}")
    joined = {"commit": " ".join, "machine": "; ".join}
    return {
        name: {**row, "seconds": round(row["seconds"]), **{key: join(sorted(row[key])) for key, join in joined.items()}}
        for name, row in found.items()
    }


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m repro.report.costs SWEEPS      writes repro/report/results/costs.json from finished cells")
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        made = costs(Path(sys.argv[1]))
    except FileNotFoundError as error:
        print(f"repro.report.costs: {error}", file=sys.stderr)
        sys.exit(2)
    path = RESULTS / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **made}, indent=1, sort_keys=True) + "\n")
    print(f"{path}: {len(made)} experiments, {sum(row['seconds'] for row in made.values()) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
