"""The claims on the paper's own Tables 4 and 5, as if their cells were the means of training runs with a stated spread.

A worked example, and a check of the verdict rule on numbers that everybody can look up: the paper prints one run an arm, so how sure one
may be of its claims depends on how far runs of one arm lie apart, which it does not say. For each spread, an arm gets five seeds whose mean
is the printed cell and whose standard deviation is the spread, and the project's own claim files are judged on them.

    python -m repro.claims.example [--seeds 5] [--write]      # prints the table; --write keeps it in repro/report/results
"""

from __future__ import annotations

import argparse

import numpy as np

from repro.claims import declared, engine
from repro.claims.declared import Claim, Registration
from repro.claims.engine import Result
from repro.claims.intervals import contrast

SPREADS = (0.5, 1.0, 2.0, 4.0)  # points between runs of one arm
PRINTED = {  # claim -> arm -> the metric of the claim in Tables 4 (section 6.4) and 5 (4.6): MATH-500, in H6.4b the average of all four
    "H6.4a": {"sft_rl": 85.9, "rl": 77.4},
    "H6.4b": {"sft_rl": 49.7, "sft": 47.3},
    "H4.6a": {"g0.99": 47.9, "g0.999": 55.2, "g1": 57.8},
    "H4.6b": {"p0.999": 58.0, "p1": 55.7},
}


def runs(mean: float, spread: float, seeds: int, rng: np.random.Generator) -> dict[int, float]:
    """Seed -> accuracy in points, with exactly this mean and this standard deviation (ddof 1). Raises ValueError below 2 seeds."""
    if seeds < 2:
        raise ValueError(f"a spread needs 2 or more seeds, got {seeds}")
    drawn = rng.normal(size=seeds)
    return dict(enumerate((mean + spread * (drawn - drawn.mean()) / drawn.std(ddof=1)).tolist()))


def judged(spread: float, seeds: int, claims: list[Claim] | None = None) -> list[Result]:
    """One result a printed claim, at the paper's scale; the families' other claims count in Holm's correction as untested members."""
    rng = np.random.default_rng(2025)
    claims = declared.load() if claims is None else claims
    families = {claim.family for claim in claims if claim.id in PRINTED}
    results = []
    for claim in (claim for claim in claims if claim.family in families):
        result = Result(claim, "paper", Registration("", ""), seeds=seeds)
        results.append(result)
        if claim.id not in PRINTED:
            result.reasons.append("the paper prints no values")
            continue
        result.values = {arm: runs(PRINTED[claim.id][arm], spread, seeds, rng) for arm in claim.arms}
        result.groups = engine._groups(claim, result.values, set())
        result.estimate = contrast(*result.groups)
    for family in sorted(families):
        engine._judge([result for result in results if result.claim.family == family])
    return [result for result in results if result.claim.id in PRINTED]


def table(seeds: int = 5) -> str:
    """Markdown: claim, what it says, spread, effect with its interval, margin, verdict."""
    lines = ["| claim | says | margin | spread of runs | effect [interval] | verdict |", "|---|---|---:|---:|---|---|"]
    found = {spread: {r.claim.id: r for r in judged(spread, seeds)} for spread in SPREADS}
    for name in sorted(PRINTED):
        for spread in SPREADS:
            r = found[spread][name]
            effect = f"{r.estimate.value:+z.2f} [{r.interval.low:+z.2f}, {r.interval.high:+z.2f}]"
            lines.append(f"| {name} | {r.claim.statement} | {r.claim.margin:g} | {spread:g} | {effect} | {r.verdict.name} |")
    note = (
        f"Cells of Tables 4 and 5 (MATH-500; H6.4b: the average of the four benchmarks) as the means of {seeds} made-up seeds with the stated "
        "standard deviation; intervals at the family's Holm level."
    )
    return "\n".join([*lines, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="made-up training seeds an arm (5)")
    parser.add_argument("--write", action="store_true", help="keep the table in repro/report/results/published_example.md")
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error(f"--seeds must be 2 or more, got {given.seeds}")
    text = table(given.seeds)
    print(text)
    if given.write:
        from repro.report.readme import RESULTS

        (RESULTS / "published_example.md").write_text(text + "\n")


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
