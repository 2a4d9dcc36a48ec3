"""What the report shows, as plain data: leaderboard rows, tied-best sets, claim results, variance components, curves - one ``Report`` a scale.

Differs from the outputs (terminal, Markdown, CSV, page), which only lay it out: whatever appears in two of them is made once, here.

    records = Records.load([Path("outputs/sweeps")])
    reports = build(records, declared.load())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repro.claims import declared, engine, intervals
from repro.claims.engine import Result
from repro.claims.group import BY_CONSTRUCTION, RecordError
from repro.claims.multiplicity import holm
from repro.claims.records import Records
from repro.report import curves, table, variance
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
    "p (permutation)",
    "P(ahead)",
    "verdict",
    "tests",
    "status",
    "reason",
)
NOTE = (
    "Intervals are at the Holm level of the claim's family, over training seeds. *detectable*: the effect shown with 80 % power. *paper*: the "
    "published effect, D where it is a difference of printed numbers. Reasons give effects turned so that positive is what the paper says. "
    "*p (permutation)*: the contrast without the t distribution, unadjusted and without part in the verdict; it cannot go below 0.0079 for 5 against "
    "5 seeds, or below 0.0625 for 5 pairs. *P(ahead)*: how often a seed of the first arm is beyond one of the second in the claimed direction."
)


@dataclass
class Report:
    """Everything the outputs show, of one scale: main and all rows, tied-best sets, claim results, variance components, training curves."""

    scale: str
    main: list[Row]
    rows: list[Row]
    best: dict[str, set[int]]
    results: list[Result]
    apart: list[str]  # of every main row: how training data were kept apart from its benchmarks
    sources: list[variance.Line]
    curves: curves.Curves


def seed_means(row: Row, records: Records, scale: str, name: str) -> list[float]:
    """Accuracy of each training seed behind a row, in points."""
    group = records.groups[scale, row.stage, row.key]
    held = group.evaluations[row.step]
    seeds = sorted(held)[:1] if row.stage == "base" else sorted(held)  # the base is one evaluation for all seeds
    parts = [group.part(seed, row.step, name) for seed in seeds]
    return [100 * float(part["correct"].to_numpy(zero_copy_only=False).mean()) for part in parts if part.num_rows]


def tied_best(rows: Sequence[Row], records: Records, scale: str, name: str, alpha: float = 0.05) -> set[int]:
    """Rows that training seeds cannot tell from the best mean (Welch, Holm over the comparisons). Rows of one seed take no part."""
    found = {i: seed_means(row, records, scale, name) for i, row in enumerate(rows) if name in row.scores}
    means = {i: values for i, values in found.items() if len(values) > 1}
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


def build(records: Records, claims: list[declared.Claim], verdicts: variance.Verdicts | None = None) -> list[Report]:
    """One report a scale. ``verdicts``: of ``variance.read_verdicts``, for the verifier's share of the variance.

    Raises:
        RecordError: records that cannot be used, whether a claim needs them or not.
    """
    for cell in records.cells:
        if cell.table.num_rows == 0 and not cell.facts.get("traces"):
            raise RecordError(f"{cell.folder / 'records.parquet'} holds no record; delete the folder and run {cell.command}")
    results = engine.evaluate(claims, records)
    reports = []
    for scale in records.scales:
        rows = table.leaderboard([cell.folder for cell in records.cells if cell.config["scale"] == scale])
        main = table.main_rows(rows)
        names = list(dict.fromkeys(name for row in main for name in row.scores))
        best = {name: tied_best(main, records, scale, name) for name in names}
        own = [r for r in results if r.scale == scale]
        apart = [kept_apart(row, records, scale) for row in main]
        sources = variance.lines(main, records, scale, verdicts)
        drawn = curves.collect(records, scale, {row.key: row.arm for row in main if row.stage == "rl"})
        reports.append(Report(scale, main, rows, best, own, apart, sources, drawn))
    return reports


def leaderboard_cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and text of the main rows; ``*`` marks the tied best set."""
    titles = table._titles(report.main)
    lines = []
    for i, row in enumerate(report.main):
        scores = [(table.percent(row.scores[n]) + (" *" if i in report.best[n] else "")) if n in row.scores else "-" for n in titles]
        stage = f"rl @ {row.step}" if row.stage == "rl" else row.stage
        shares = [f"{row.tokens:z.1f}", f"{100 * row.truncated:z.1f}", f"{100 * row.no_answer:z.1f}"]
        lines.append([row.arm, stage, str(row.seeds), *scores, *shares])
    return table.headings(report.main), lines


def claim_cells(result: Result) -> list[str]:
    """A row of the claim table, as ``CLAIM_HEADINGS``."""
    claim, verdict = result.claim, result.verdict
    published = claim.published["effect"]
    ours = "-"
    if result.estimate is not None and result.interval is not None:
        ours = f"{result.estimate.value:+z.2f} [{result.interval.low:+z.2f}, {result.interval.high:+z.2f}]"
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
        "-" if result.detectable is None else f"{result.detectable:z.2f}",
        "-" if result.p_holm is None else f"{result.p_holm:z.3g}",
        "-" if result.free is None else f"{result.free.p:z.3g}",
        "-" if result.free is None or result.free.improvement is None else _probability(*result.free.improvement),
        ("at proxy scale: " if verdict.proxy and verdict.name != "not tested" else "") + verdict.name,
        tests,
        f"{status} ({result.registration.hash})",
        verdict.reason,
    ]


def _probability(share: float, interval: intervals.Interval) -> str:
    return f"{share:z.2f} [{interval.low:z.2f}, {interval.high:z.2f}]"


def kept_apart(row: Row, records: Records, scale: str) -> str:
    """How training data were kept apart from the row's benchmarks, in words."""
    group = records.groups[scale, row.stage, row.key]
    said: dict[str, list[str]] = {}
    for name in row.scores:
        said.setdefault(group.decontaminated(name) or "decontamination not recorded", []).append(name)
    return "; ".join(f"train and test {how}" if how == BY_CONSTRUCTION else f"{', '.join(names)}: {how}" for how, names in said.items())


def tally(results: Sequence[Result]) -> str:
    """``2 reproduced, 1 inconclusive, 37 not tested``"""
    from repro.claims.verdict import NAMES

    counts = {name: sum(r.verdict.name == name for r in results) for name in NAMES}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
