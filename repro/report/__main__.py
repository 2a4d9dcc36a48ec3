"""The report of finished cells: leaderboard, a verdict for every claim, training curves.

    python -m repro.report                                    every sweep in outputs/sweeps
    python -m repro.report outputs/sweeps/reward_design       one sweep, or any folders with finished cells
    python -m repro.report --out DIR                          elsewhere than below the first folder
    python -m repro.report outputs/sweeps --take              also keep the verdicts in repro/report/results and the README

Prints the tables and writes report.html (one file, no network), report.md, leaderboard.csv, claims.csv, variance.csv, curves.csv and
curves/*.svg to the output folder. Marks with * the statistically tied best set of each benchmark instead of the best mean. Nothing is trained or sampled; the same
records give the same report. Exit code 2 with one line for records or claims that cannot be used.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from repro.claims import declared
from repro.claims.declared import ClaimError
from repro.claims.group import RecordError
from repro.claims.records import Records
from repro.report import curves, page, readme, variance
from repro.report.summary import CLAIM_HEADINGS, NOTE, Report, build, claim_cells, leaderboard_cells, tally

TERMINAL = ("claim", "metric", "paper", "ours [interval]", "seeds", "detectable", "p (Holm)", "verdict", "reason")


def terminal(reports: Sequence[Report]) -> None:
    """Leaderboard and claims; untested claims as one line each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def plain(cells: Sequence[str]) -> list[Text]:  # brackets in a name are no markup
        return [Text(cell, style="bold" if cell.endswith(" *") else "") for cell in cells]

    screen = Console()
    # Piped output has no width of its own; 80 columns would break every cell.
    console = screen if screen.is_terminal else Console(width=220)
    for report in reports:
        headings, lines = leaderboard_cells(report)
        board = Table(title=f"{report.scale}: avg@k in %, 95 % interval; * tied best over training seeds", title_justify="left")
        for i, heading in enumerate(headings):
            board.add_column(heading, justify="left" if i < 2 else "right", no_wrap=i < 2)
        for line in lines:
            board.add_row(*plain(line))
        console.print(board)
        tested = [r for r in report.results if r.verdict.name != "not tested"]
        if tested:
            claims = Table(title="Claims, interval at the Holm level over training seeds", title_justify="left", show_lines=True)
            for heading in TERMINAL:
                claims.add_column(heading, no_wrap=heading in ("claim", "p (Holm)", "ours [interval]"))
            for result in tested:
                cells = dict(zip(CLAIM_HEADINGS, claim_cells(result), strict=True))
                claims.add_row(*plain([cells[heading] for heading in TERMINAL]))
            console.print(claims)
            for reason in sorted({r.registration.exploratory for r in tested if r.registration.exploratory}):
                names = ", ".join(r.claim.id for r in tested if r.registration.exploratory == reason)
                console.print(f"  exploratory ({reason}): {names}", highlight=False, markup=False)
        for result in report.results:
            if result not in tested:
                console.print(f"  {result.claim.id:6} not tested: {result.verdict.reason}", highlight=False, markup=False)
        if report.sources:
            spread = Table(
                title="Where the spread of a run's accuracy comes from: standard deviation in points (share of a score's variance)",
                title_justify="left",
            )
            for heading in variance.HEADINGS:
                spread.add_column(heading)
            for line in report.sources:
                spread.add_row(*plain(line.cells()))
            console.print(spread)
        console.print(f"{len(report.results)} claims at {report.scale} scale: {tally(report.results)}")


def markdown(reports: Sequence[Report]) -> str:
    """The text of report.md."""
    lines = ["# Report", ""]
    for report in reports:
        headings, rows = leaderboard_cells(report)
        board = [[f"**{cell[:-2]}** \\*" if cell.endswith(" *") else cell for cell in row] for row in rows]
        lines += [f"## {report.scale} scale", "", "### Leaderboard", "", *_grid(headings, board), ""]
        lines += ["avg@k in percent with a 95 % interval over training seeds (over questions where there is one seed).", ""]
        lines += [
            "\\* and bold: statistically tied best set, not told from the best mean by Welch's test over training seeds, Holm over rows.",
            "",
        ]
        lines += ["### Claims", "", f"{tally(report.results)}.", ""]
        lines += [*_grid(CLAIM_HEADINGS, [claim_cells(r) for r in report.results]), ""]
        lines += [NOTE, ""]
        odd = {r.registration.exploratory for r in report.results if r.registration.exploratory}
        lines += [f"- exploratory: {reason}" for reason in sorted(odd)]
        lines += ["", "### What each claim says", ""]
        lines += [f"- **{r.claim.id}** {r.claim.statement} Paper: {r.claim.published['source']}." for r in report.results]
        if report.sources:
            lines += ["", "### Variance", "", *_grid(variance.HEADINGS, [line.cells() for line in report.sources]), "", variance.NOTE]
        for experiment, held in report.curves.items():
            drawn, silent = curves.charts(held)
            lines += [
                "",
                f"### Curves of {experiment}",
                "",
                *(f"![{name}](curves/{_svg(report.scale, experiment, name)})" for name in drawn),
            ]
            lines += ["", f"0 throughout: {', '.join(silent)}."] if silent else []
        lines += ["", "### Made by", ""]
        lines += [
            f"- `{row.arm}` ({row.stage}): `{row.command}`, commit {row.commit}, {row.samples} samples; {apart}"
            for row, apart in zip(report.main, report.apart, strict=True)
        ]
    return "\n".join(lines) + "\n"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]  # names and reasons are no markup
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings), *("| " + " | ".join(row) + " |" for row in escaped)]


def write(reports: Sequence[Report], records: Records, target: Path, samples: int) -> list[Path]:
    """All files. Returns them."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "report.md").write_text(markdown(reports), encoding="utf-8")
    (target / "report.html").write_text(page.render(reports, records, samples), encoding="utf-8")
    boards = [(report.scale, *leaderboard_cells(report)) for report in reports]
    headings = list(dict.fromkeys(heading for _, names, _ in boards for heading in names))
    lines = [[scale, *(dict(zip(names, row, strict=True)).get(h, "") for h in headings)] for scale, names, rows in boards for row in rows]
    _csv(target / "leaderboard.csv", ["scale", *headings], lines)
    _csv(target / "claims.csv", ["scale", *CLAIM_HEADINGS], [[r.scale, *claim_cells(r)] for report in reports for r in report.results])
    spread = [[report.scale, *line] for report in reports for line in variance.long(report.sources)]
    _csv(target / "variance.csv", ["scale", *variance.LONG], spread)
    _csv(target / "curves.csv", curves.COLUMNS, [line for report in reports for line in curves.lines(report.scale, report.curves)])
    made = [target / name for name in ("report.html", "report.md", "leaderboard.csv", "claims.csv", "variance.csv", "curves.csv")]
    (target / "curves").mkdir(exist_ok=True)
    for report in reports:
        for experiment, held in report.curves.items():
            for name, svg in curves.charts(held, alone=True)[0].items():
                made.append(target / "curves" / _svg(report.scale, experiment, name))
                made[-1].write_text(svg, encoding="utf-8")
    return made


def _svg(scale: str, experiment: str, name: str) -> str:
    return f"{scale}-{experiment}-{name}.svg"


def _csv(path: Path, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
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
    parser.add_argument("--claims", type=Path, default=declared.FOLDER, help="folder of claim files (conf/claim)")
    parser.add_argument("--samples", type=int, default=50, help="samples of each arm and benchmark in the page (50; 0: none)")
    parser.add_argument(
        "--verdicts", type=Path, help="CSV of python -m repro.verifiers.agreement, for the verifier's share of the variance"
    )
    parser.add_argument(
        "--take", action="store_true", help="also keep the verdicts as the project's results and write them into the README"
    )
    given = parser.parse_args(arguments)
    try:
        claims = declared.load(given.claims)
        records = Records.load(given.paths)
        reports = build(records, claims, variance.read_verdicts(given.verdicts) if given.verdicts else None)
        target = given.out or given.paths[0] / "report"
        made = write(reports, records, target, max(0, given.samples))
    except (RecordError, ClaimError) as error:
        print(f"repro.report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"repro.report: cannot write {error.filename} ({error.strerror}); choose another folder with --out", file=sys.stderr)
        return 2
    terminal(reports)
    if given.take:
        shutil.copy(target / "claims.csv", readme.RESULTS / "claims.csv")
        readme.update()
        made += [readme.RESULTS / "claims.csv", readme.README]
    shown = [str(path) for path in made if path.suffix != ".svg"]
    print("Wrote " + ", ".join(shown) + f" and {len(made) - len(shown)} charts")
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
