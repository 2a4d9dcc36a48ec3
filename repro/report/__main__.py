"""The report of finished cells: leaderboard, a verdict for every claim, training curves.

    python -m repro.report                                    every sweep in outputs/sweeps
    python -m repro.report outputs/sweeps/reward_design       one sweep, or any folders with finished cells
    python -m repro.report --out DIR                          elsewhere than below the first folder

Prints the tables and writes report.md, leaderboard.csv, claims.csv, curves-*.svg and report.html (one file, no network) to the output
folder. Marks with * the statistically tied best set of each benchmark instead of the best mean. Nothing is trained or sampled; the same
records give the same report. Exit code 2 with one line for records or claims that cannot be used.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.claims import engine, intervals
from repro.claims.engine import ClaimError, Result
from repro.claims.multiplicity import holm
from repro.claims.records import RecordError, Records
from repro.report import curves, page, table
from repro.report.table import Row

CLAIM_HEADINGS = (
    "claim",
    "section",
    "arms",
    "metric",
    "paper",
    "ours [interval]",
    "seeds",
    "detectable",
    "p (Holm)",
    "verdict",
    "tests",
    "status",
    "reason",
)


TERMINAL = ("claim", "metric", "paper", "ours [interval]", "seeds", "detectable", "p (Holm)", "verdict", "reason")
NOTE = (
    "Intervals are at the Holm level of the claim's family, over training seeds. *detectable*: the effect shown with 80 % power. *paper*: the "
    "published effect, D where it is a difference of printed numbers. Reasons give effects turned so that positive is what the paper says."
)


@dataclass
class Report:
    """Everything the outputs show, of one scale: main and all rows, tied-best sets, claim results, curves as SVG by file name."""

    scale: str
    main: list[Row]
    rows: list[Row]
    best: dict[str, set[int]]
    results: list[Result]
    charts: dict[str, str]


def seed_means(row: Row, records: Records, name: str) -> list[float]:
    """Accuracy of each training seed behind a row, in points."""
    folders = {path.parent.resolve() for path in row.manifests}
    for group in records.groups.values():
        held = group.evaluations.get(row.step, {})
        if group.stage == row.stage and held and {cell.folder.resolve() for _, cell in held.values()} & folders:
            keys = {evaluation["key"]: seed for seed, (evaluation, _) in held.items()}  # the base is one evaluation for all seeds
            parts = [group.part(seed, row.step, name) for seed in keys.values()]
            return [100 * float(part["correct"].to_numpy(zero_copy_only=False).mean()) for part in parts if part.num_rows]
    return []


def tied_best(rows: Sequence[Row], records: Records, name: str, alpha: float = 0.05) -> set[int]:
    """Rows that training seeds cannot tell from the best mean (Welch, Holm over the comparisons). Rows of one seed take no part."""
    means = {i: found for i, row in enumerate(rows) if name in row.scores and len(found := seed_means(row, records, name)) > 1}
    if not means:
        return set()
    best = max(means, key=lambda i: sum(means[i]) / len(means[i]))
    others = [i for i in means if i != best]
    ps = []
    for i in others:
        try:
            ps.append(intervals.difference(means[best], means[i]).p_value())
        except ValueError:  # no spread in either: tied only if equal
            ps.append(float(np.isclose(np.mean(means[best]), np.mean(means[i]))))
    kept = {i for i, p in zip(others, holm(ps) if ps else [], strict=True) if p > alpha}
    return {best} | kept


def build(records: Records, claims: list[engine.Claim]) -> list[Report]:
    """One report a scale."""
    results = engine.evaluate(claims, records)
    reports = []
    for scale in records.scales:
        rows = table.leaderboard([cell.folder for cell in records.cells if cell.config["scale"] == scale])
        main = table.main_rows(rows)
        names = list(dict.fromkeys(name for row in main for name in row.scores))
        best = {name: tied_best(main, records, name) for name in names}
        found = curves.collect(records, scale)
        charts = {}
        for column, title, unit, factor in curves.SHOWN:
            series = {arm: (steps, factor * values) for arm, (steps, values) in found.get(column, {}).items()}
            if series:
                charts[f"curves-{scale}-{column.replace('/', '-')}.svg"] = curves.chart(title, unit, series, alone=True)
        reports.append(Report(scale, main, rows, best, [r for r in results if r.scale == scale], charts))
    return reports


def leaderboard_cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and text of the main rows; ``*`` marks the tied best set."""
    titles = table._titles(report.main)
    lines = []
    for i, row in enumerate(report.main):
        scores = [(table.percent(row.scores[n]) + (" *" if i in report.best[n] else "")) if n in row.scores else "-" for n in titles]
        stage = f"rl @ {row.step}" if row.stage == "rl" else row.stage
        shares = [f"{row.tokens:.1f}", f"{100 * row.truncated:.1f}", f"{100 * row.no_answer:.1f}"]
        lines.append([row.arm, stage, str(row.seeds), *scores, *shares])
    return table.headings(report.main), lines


def claim_cells(result: Result) -> list[str]:
    """A row of the claim table, as ``CLAIM_HEADINGS``."""
    claim, verdict = result.claim, result.verdict
    published = claim.published["effect"]
    ours = "-"
    if result.estimate is not None and result.interval is not None:
        ours = f"{result.estimate.value:+.2f} [{result.interval.low:+.2f}, {result.interval.high:+.2f}]"
    tests = "magnitude" if claim.scale == "magnitude" or result.scale == "paper" else "mechanism"
    status = "exploratory" if result.registration.exploratory else "declared before" if result.values else "no records"
    return [
        claim.id,
        claim.section,
        " ".join(f"{weight:+g} {arm}" for arm, weight in claim.contrast.items()),
        claim.measured,
        "not printed" if published is None else f"{published:+g} [{claim.published['tag']}]",
        ours,
        str(result.seeds),
        "-" if result.detectable is None else f"{result.detectable:.2f}",
        "-" if result.p_holm is None else f"{result.p_holm:.3g}",
        ("at proxy scale: " if verdict.proxy and verdict.name != "not tested" else "") + verdict.name,
        tests,
        f"{status} ({result.registration.hash})",
        verdict.reason,
    ]


def tally(results: Sequence[Result]) -> str:
    """``2 reproduced, 1 inconclusive, 37 not tested``"""
    from repro.claims.verdict import NAMES

    counts = {name: sum(r.verdict.name == name for r in results) for name in NAMES}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def terminal(reports: Sequence[Report]) -> None:
    """Leaderboard and claims; untested claims as one line each."""
    from rich.console import Console
    from rich.table import Table

    screen = Console()
    # Piped output has no width of its own; 80 columns would break every cell.
    console = screen if screen.is_terminal else Console(width=220)
    for report in reports:
        headings, lines = leaderboard_cells(report)
        board = Table(title=f"{report.scale}: avg@k in %, 95 % interval; * tied best over training seeds", title_justify="left")
        for i, heading in enumerate(headings):
            board.add_column(heading, justify="left" if i < 2 else "right", no_wrap=i < 2)
        for line in lines:
            board.add_row(*line)
        console.print(board)
        tested = [r for r in report.results if r.verdict.name != "not tested"]
        if tested:
            claims = Table(title="Claims, interval at the Holm level over training seeds", title_justify="left", show_lines=True)
            for heading in TERMINAL:
                claims.add_column(heading, no_wrap=heading in ("claim", "p (Holm)", "ours [interval]"))
            for result in tested:
                cells = dict(zip(CLAIM_HEADINGS, claim_cells(result), strict=True))
                claims.add_row(*(cells[heading] for heading in TERMINAL))
            console.print(claims)
            for reason in sorted({r.registration.exploratory for r in tested if r.registration.exploratory}):
                names = ", ".join(r.claim.id for r in tested if r.registration.exploratory == reason)
                console.print(f"  exploratory ({reason}): {names}", highlight=False, markup=False)
        for result in report.results:
            if result not in tested:
                console.print(f"  {result.claim.id:6} not tested: {result.verdict.reason}", highlight=False, markup=False)
        console.print(f"{len(report.results)} claims at {report.scale} scale: {tally(report.results)}")


def markdown(reports: Sequence[Report]) -> str:
    """The text of report.md."""
    lines = ["# Report", ""]
    for report in reports:
        headings, rows = leaderboard_cells(report)
        lines += [f"## {report.scale} scale", "", "### Leaderboard", "", *_grid(headings, rows), ""]
        lines += ["avg@k in percent with a 95 % interval over training seeds (over questions where there is one seed).", ""]
        lines += ["\\* statistically tied best set: not told from the best mean by Welch's test over training seeds, Holm over rows.", ""]
        lines += ["### Claims", "", f"{tally(report.results)}.", ""]
        lines += [*_grid(CLAIM_HEADINGS, [claim_cells(r) for r in report.results]), ""]
        lines += [NOTE, ""]
        odd = {r.registration.exploratory for r in report.results if r.registration.exploratory}
        lines += [f"- exploratory: {reason}" for reason in sorted(odd)]
        lines += ["", "### What each claim says", ""]
        lines += [f"- **{r.claim.id}** {r.claim.statement} Paper: {r.claim.published['source']}." for r in report.results]
        if report.charts:
            lines += ["", "### Curves", "", *(f"![{name}]({name})" for name in report.charts)]
        lines += ["", "### Made by", ""]
        lines += [f"- `{row.arm}` ({row.stage}): `{row.command}`, commit {row.commit}, {row.samples} samples" for row in report.main]
    return "\n".join(lines) + "\n"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings), *("| " + " | ".join(row) + " |" for row in escaped)]


def write(reports: Sequence[Report], records: Records, target: Path, samples: int) -> list[Path]:
    """All files. Returns them."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "report.md").write_text(markdown(reports))
    (target / "report.html").write_text(page.render(reports, records, samples))
    boards = [(report.scale, *leaderboard_cells(report)) for report in reports]
    headings = list(dict.fromkeys(heading for _, names, _ in boards for heading in names))
    lines = [[scale, *(dict(zip(names, row, strict=True)).get(h, "") for h in headings)] for scale, names, rows in boards for row in rows]
    _csv(target / "leaderboard.csv", ["scale", *headings], lines)
    _csv(target / "claims.csv", ["scale", *CLAIM_HEADINGS], [[r.scale, *claim_cells(r)] for report in reports for r in report.results])
    made = [target / name for name in ("report.html", "report.md", "leaderboard.csv", "claims.csv")]
    for report in reports:
        for name, svg in report.charts.items():
            (target / name).write_text(svg)
            made.append(target / name)
    return made


def _csv(path: Path, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m repro.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs/sweeps")], help="folders with finished cells (outputs/sweeps)"
    )
    parser.add_argument("--out", type=Path, help="output folder (default: report/ in the first of the paths)")
    parser.add_argument("--claims", type=Path, default=engine.FOLDER, help="folder of claim files (conf/claim)")
    parser.add_argument("--samples", type=int, default=50, help="samples of each arm and benchmark in the page (50; 0: none)")
    given = parser.parse_args(arguments)
    try:
        claims = engine.load(given.claims)
        records = Records.load(given.paths)
        reports = build(records, claims)
        target = given.out or given.paths[0] / "report"
        made = write(reports, records, target, max(0, given.samples))
    except (RecordError, ClaimError) as error:
        print(f"repro.report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"repro.report: cannot write {error.filename} ({error.strerror}); choose another folder with --out", file=sys.stderr)
        return 2
    terminal(reports)
    print("Wrote " + ", ".join(str(path) for path in made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
