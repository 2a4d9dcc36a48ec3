"""Scores of recorded responses beside the labels and the predictions that came with them, a model at a time: is our verifier theirs?

Not a speed: a table for the README, from the data folder's graded_generations (free answers) and mcq_generations (MMLU-Pro). A label of the
second is missing where the official patterns find no letter; the official score then guesses one at random (``repo_pred``), we count no answer.
``fallback=true`` takes the last number or letter of a response that commits to none, as several graders do without saying so.

    REPRO_DATA_DIR=... python -m tests.benchmarks.recorded [--write]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from evals.benchmarks import BENCHMARKS
from evals.files import data_dir, read_rows
from evals.score import score
from repro.verifiers import Verifier

FILES = {"graded_generations": (None, "math"), "mcq_generations": ("mmlu_pro", None)}


def lines(name: str, records: list[dict[str, Any]], lenient: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line of the table for every model, in order of appearance. ``lenient``: the records with fallback=true."""
    for model in dict.fromkeys(r["group"] for r in records):
        chosen = [(record, row) for record, row in zip(records, rows, strict=True) if record["group"] == model]
        found, size = [record for record, _ in chosen], len(chosen)
        labelled = [r for r in found if r["label"] is not None]
        theirs = 100 * sum(r["label"] for r in labelled) / size
        guessed = [row["repo_pred"] == row["gold"] for _, row in chosen] if name == "mcq_generations" else None
        official = "-" if guessed is None else f"{100 * sum(guessed) / size:.2f}"
        agree = sum(r["label"] == r["correct"] for r in labelled)
        ours, none = 100 * sum(r["correct"] for r in found) / size, 100 * sum(r["extracted"] is None for r in found) / size
        last = 100 * sum(r["correct"] for r in lenient if r["group"] == model) / size
        yield f"| {name} | {model} | {size:,} | {ours:.2f} | {theirs:.2f} | {agree:,} of {len(labelled):,} | {none:.2f} | {last:.2f} | {official} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()

    from repro.manifest import environment
    from repro.report.readme import RESULTS

    table = [
        "| recorded responses | of | responses | ours % | their labels % | labels agree | no answer % | with fallback=true % | their score with guesses % |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with Verifier() as verifier, Verifier(fallback=True) as lenient:
        for name, (benchmark, task) in FILES.items():
            rows = read_rows(data_dir() / f"{name}.jsonl.gz")
            known = BENCHMARKS[benchmark] if benchmark else None
            scored = [score(rows, known, one, task=task, by="model") for one in (verifier, lenient)]
            table += lines(name, *scored, rows)
        version = verifier.version
    table += [
        "",
        "Ours and theirs over all responses: one without an answer, or without a label, is not right, and none is guessed. "
        f"Verifier {version}, commit {environment()['commit'][:10]}.",
    ]
    print("\n".join(table))
    if options.write:
        (RESULTS / "recorded.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
