"""The README's tables, written between markers from the results in ``repro/report/results``; a test fails if they drift.

python -m repro.report.readme                          # write the tables into README.md
python -m repro.report.readme --take quickstart DIR    # first copy the table.csv of a finished sweep or cell to the results
python -m repro.report outputs/sweeps --take           # first copy the claims' verdicts on those records to the results
"""

from __future__ import annotations

import argparse
import csv
import json
import re
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
        length, cut = f"{float(row['mean_tokens']):z.1f}", f"{100 * float(row['truncated']):z.1f}"
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
            f"{m['guess']:z.2f}",
            f"{m['search_after_skills']:z.2f}",
            f"{m['free']:z.2f}",
            f"{m['free_tokens']:z.1f}",
            f"{facts['seconds']:z.0f} s",
        ]
        lines.append(f"| {path.parent.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def experiments_table() -> str:
    """What every file of ``conf/experiment`` says in its head: its question, and arms x seeds at micro scale."""
    lines = ["| experiment | question | cells |", "|---|---|---|"]
    for path in sorted((Path(__file__).parents[2] / "conf" / "experiment").glob("*.yaml")):
        head = [line.removeprefix("# ") for line in path.read_text().splitlines()[1:] if line.startswith("#")]
        command = next((i for i, line in enumerate(head) if line.lstrip("# ").startswith("python -m")), len(head) - 1)
        sentences = re.split(r"(?<=[.?]) (?=[A-Z])", " ".join(head[:command]).replace("|", "/"))
        size = head[command].rpartition("  ")[2].strip()
        lines.append(f"| `{path.stem}` | {sentences[0]} | {size} |")
    return "\n".join(lines)


def claims_table() -> str:
    """Markdown of the committed claims.csv: every tested claim beside the published effect; what was not tested in one line."""
    from repro.claims import declared

    path = RESULTS / "claims.csv"
    if not path.exists():
        return "No verdicts are committed yet: `python -m repro.report outputs/sweeps --take` writes this table."
    says = {claim.id: claim.statement for claim in declared.load()}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| claim | says | paper | ours [interval] | seeds | p (Holm) | verdict |", "|---|---|---|---|---:|---|---|"]
    untested: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == "not tested":
            untested.setdefault(row["scale"], []).append(row["claim"])
            continue
        status = " (exploratory)" if row["status"].startswith("exploratory") else ""
        named = f"{row['claim']} ({row['scale']})"
        shown = (
            named,
            says.get(row["claim"], "-"),
            row["paper"],
            row["ours [interval]"],
            row["seeds"],
            row["p (Holm)"],
            row["verdict"] + status,
        )
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in shown) + " |")
    lines.append("")
    lines += [f"Not tested at {scale} scale: {', '.join(names)}." for scale, names in untested.items()]
    return "\n".join(lines).rstrip()


def tables() -> dict[str, str]:
    """Marker name -> Markdown."""
    found = {path.stem: sweep_table(path) for path in sorted(RESULTS.glob("*.csv")) if path.stem != "claims"}
    found["claims"] = claims_table()
    found |= {path.stem: path.read_text().strip() for path in sorted(RESULTS.glob("*.md"))}
    return {**found, "bases": bases_table(), "experiments": experiments_table()}


def render(text: str) -> str:
    """The README with every table between its markers replaced.

    Raises:
        KeyError: a marker names a table that no result makes.
    """
    made = tables()
    # A marker without its end is new; the end of the next table is not its own.
    pattern = re.compile(r"(<!-- table: (\S+) -->\n)(?:(?:(?!<!-- table:).)*?<!-- end -->\n)?", re.DOTALL)
    return pattern.sub(lambda m: f"{m.group(1)}{made[m.group(2)]}\n<!-- end -->\n", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--take",
        nargs=2,
        metavar=("NAME", "DIR"),
        help="copy DIR/table.csv, of the cells of the last run there, to the results under NAME first",
    )
    arguments = parser.parse_args()
    if arguments.take:
        name, folder = arguments.take
        if not (Path(folder) / "table.csv").is_file():
            parser.error(f"{folder} has no table.csv: give the folder of a finished sweep, or of a finished cell (its seed=N folder)")
        RESULTS.mkdir(exist_ok=True)
        take(name, Path(folder))
    update()


def take(name: str, folder: Path) -> None:
    """Copy ``folder/table.csv`` to the results. Where its commands wrote to (``paths.outputs=...``) belongs to one machine and is left out."""
    text = (folder / "table.csv").read_text(encoding="utf-8")
    (RESULTS / f"{name}.csv").write_text(re.sub(r" paths\.\w+=[^\s,;\"]+", "", text), encoding="utf-8")


def update() -> None:
    """The figure index, then the README, from the committed results."""
    from repro.report import index

    index.write(RESULTS)
    README.write_text(render(README.read_text()))


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
