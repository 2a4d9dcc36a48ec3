"""Index of the paper's figures and tables, and of what stands for none: what makes the counterpart here, what it costs, and how far it is.

Differs from a hand-kept list in that only the paper's side is written down (figures.yaml): the command is an experiment that exists or a
dash, the cost is that of a run (results/costs.json), and the status comes from the committed results and verdicts.

    python -m repro.report.index        # writes repro/report/results/index.md; python -m repro.report.readme does, too
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from repro.claims import declared

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EXPERIMENTS = HERE.parents[1] / "conf" / "experiment"
WHOLE = "whole set"  # of costs.json: one seed of all experiments, every stage counted once
HEADINGS = ("paper", "section", "shows", "command", "cost", "status")


def entries() -> list[dict[str, Any]]:
    """figures.yaml: id, section, shows, and one of experiment, settings, command."""
    return yaml.safe_load((HERE / "figures.yaml").read_text())


def costs(results: Path = RESULTS) -> dict[str, Any]:
    """experiment -> cells, seconds, commit, machine; empty where nothing was measured."""
    path = results / "costs.json"
    return json.loads(path.read_text()) if path.exists() else {}


def verdicts(results: Path = RESULTS) -> dict[str, Counter[str]]:
    """experiment -> count of each verdict in the committed claims.csv; "not tested" included."""
    path = results / "claims.csv"
    if not path.exists():
        return {}
    made_by = {claim.id: claim.experiment for claim in declared.load()}
    found: dict[str, Counter[str]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["claim"] in made_by:
                found.setdefault(made_by[row["claim"]], Counter())[row["verdict"].removeprefix("at proxy scale: ")] += 1
    return found


def exists(experiment: str) -> bool:
    return (EXPERIMENTS / f"{experiment}.yaml").exists()


def cells(entry: dict[str, Any], results: Path = RESULTS) -> list[str]:
    """One row, as ``HEADINGS``."""
    front = [entry["id"], entry["section"], entry["shows"]]
    if "command" in entry:
        return [*front, f"`{entry['command']}`", "-", "made by the command"]
    if "settings" in entry:
        if not exists(entry["settings"]):
            return [*front, "-", "-", "no experiment yet"]
        return [*front, f"`python -m repro +experiment={entry['settings']} scale=paper --cfg job`", "-", "configuration"]
    name = entry["experiment"]
    if not exists(name):
        return [*front, "-", "-", "no experiment yet"]
    return [*front, f"`python -m repro +experiment={name}`", cost(costs(results).get(name)), status(name, results)]


def cost(measured: dict[str, Any] | None) -> str:
    """``10 cells, 32 min``, of a run."""
    if not measured:
        return "not measured"
    count, minutes = measured["cells"], measured["seconds"] / 60
    return f"{count} cell{'s' if count != 1 else ''}, {f'{minutes:z.0f} min' if minutes >= 1 else 'under a minute'}"


def status(experiment: str, results: Path = RESULTS) -> str:
    """Whether committed results exist, and the verdicts on its claims."""
    tested = {name: count for name, count in verdicts(results).get(experiment, Counter()).items() if name != "not tested"}
    if tested:
        return "run: claims " + ", ".join(f"{count} {name}" for name, count in sorted(tested.items()))
    if (results / f"{experiment}.csv").exists() or experiment in costs(results):
        return "run: no claim tested"
    return "not run"


def markdown(results: Path = RESULTS) -> str:
    """The table, and what cost and status say."""
    rows = [cells(entry, results) for entry in entries()]
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS), *("| " + " | ".join(row) + " |" for row in rows)]
    said = "Cost and status are those of the micro scale, of one seed on one core; claims are verdicts at proxy scale."
    return "\n".join([*lines, "", f"{said}{total(costs(results))}"]) + "\n"


def total(measured: dict[str, Any]) -> str:
    """What all experiments cost together, and on which machines and commits that was measured; empty where nothing was."""
    each = [row for name, row in measured.items() if name != WHOLE]
    if not each:
        return ""
    minutes = sum(row["seconds"] for row in each) / 60
    text = f" The {len(each)} measured: {sum(row['cells'] for row in each)} cells, {minutes:z.0f} min if each starts from nothing"
    if whole := measured.get(WHOLE):
        text += f"; one after the other in one store, where equal stages are built once, {whole['seconds'] / 60:z.0f} min"
    by_machine: dict[str, set[str]] = {}
    for row in measured.values():
        by_machine.setdefault(row["machine"], set()).update(row["commit"].split())
    usual = max(by_machine, key=lambda machine: sum(row["machine"] == machine for row in measured.values()))
    where = []
    for machine, commits in sorted(by_machine.items()):
        names = sorted(name for name, row in measured.items() if row["machine"] == machine)
        which = "" if machine == usual else f"{', '.join(names)}: "
        where.append(f"{which}{machine}, commit{'s' if len(commits) > 1 else ''} {', '.join(sorted(commits))}")
    return f"{text}. {'; '.join(where)}."


def write(results: Path = RESULTS) -> Path:
    path = results / "index.md"
    path.write_text(markdown(results))
    return path


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"Wrote {write()}")


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
