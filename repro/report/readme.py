"""The README's tables, written between markers from the results in ``repro/report/results``; a test fails if they drift.

python -m repro.report.readme                          # write the tables into README.md
python -m repro.report.readme --take quickstart DIR    # first copy the table.csv of a finished sweep or cell to the results
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[2] / "README.md"


def sweep_table(path: Path) -> str:
    """Markdown of a ``table.csv``: for every arm the last step, and what made it."""
    from evals.benchmarks import BENCHMARKS
    from repro.report.table import percent

    with path.open() as file:
        rows = list(csv.DictReader(file))
    last = {row["arm"]: row for row in rows}  # rows of an arm are in the order of their steps
    names = [name for name in rows[0] if f"{name}_low" in rows[0]]
    lines = ["| arm | stage | seeds | " + " | ".join(BENCHMARKS[n].title for n in names) + " | CoT tokens | truncated % |"]
    lines.append("|---|---|" + "---:|" * (len(names) + 3))
    for row in last.values():
        scores = [percent((float(row[n]), float(row[f"{n}_low"]), float(row[f"{n}_high"]))) for n in names]
        stage = f"rl @ {row['step']}" if row["stage"] == "rl" else row["stage"]
        length, cut = f"{float(row['mean_tokens']):.1f}", f"{100 * float(row['truncated']):.1f}"
        lines.append(f"| {row['arm']} | {stage} | {row['seeds']} | {' | '.join(scores)} | {length} | {cut} |")
    commits = sorted({commit for row in rows for commit in row["commit"].split()})
    over = {"seeds": "training seeds", "questions": "questions (one seed)"}
    covers = ", in other rows over ".join(over[name] for name in sorted({row["interval_over"] for row in rows}, reverse=True))
    return "\n".join([*lines, "", f"avg@k in percent, 95 % intervals over {covers}; commit {', '.join(commits)}."])


def bases_table() -> str:
    """What pre-training measured of the shipped checkpoints."""
    from repro.models.base import HERE

    lines = ["| base | right without searching | right when it searches, after the skills | free sampling: right | tokens | trained in |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for path in sorted(HERE.glob("*/manifest.json")):
        facts = json.loads(path.read_text())
        m = facts["measured"]
        cells = [
            f"{m['guess']:.2f}",
            f"{m['search_after_skills']:.2f}",
            f"{m['free']:.2f}",
            f"{m['free_tokens']:.1f}",
            f"{facts['seconds']:.0f} s",
        ]
        lines.append(f"| {path.parent.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Marker name -> Markdown."""
    found = {path.stem: sweep_table(path) for path in sorted(RESULTS.glob("*.csv"))}
    found |= {path.stem: path.read_text().strip() for path in sorted(RESULTS.glob("*.md"))}
    return {**found, "bases": bases_table()}


def render(text: str) -> str:
    """The README with every table between its markers replaced.

    Raises:
        KeyError: a marker names a table that no result makes.
    """
    made = tables()
    pattern = re.compile(r"(<!-- table: (\S+) -->\n)(?:.*?<!-- end -->\n)?", re.DOTALL)
    return pattern.sub(lambda m: f"{m.group(1)}{made[m.group(2)]}\n<!-- end -->\n", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs=2, metavar=("NAME", "DIR"), help="copy DIR/table.csv to the results under NAME first")
    arguments = parser.parse_args()
    if arguments.take:
        name, folder = arguments.take
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "table.csv", RESULTS / f"{name}.csv")
    README.write_text(render(README.read_text()))


if __name__ == "__main__":
    main()
