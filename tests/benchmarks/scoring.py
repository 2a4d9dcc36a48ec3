"""Time to score 8,192 recorded responses (512 questions of 16 samples, the batch of an evaluation), against the target: 10 s on one core.

Three rows: the rules alone, which is one process; the default verifier, whose pairs for computer algebra go to worker processes on the same
core (start of the workers included); and that with every response put behind other recorded ones, so that it is as long as the chains of an
evaluation, of which the verifier has to find the end. No cache is used. The responses are those of graded_generations where REPRO_DATA_DIR is set, else
made up by a seeded generator; where there are fewer, they are repeated in order and the table says so.

    REPRO_DATA_DIR=... python -m tests.benchmarks.scoring [--responses 8192] [--repeats 3] [--write]
"""

from __future__ import annotations

import argparse
import os
import resource
import time

from tests.benchmarks.verifier import pairs

TARGET = 10.0  # seconds
LONG = 20_000  # characters of the long responses, some 7,000 tokens
Pairs = list[tuple[str, str]]


def usable(rows: Pairs) -> Pairs:
    """The pairs whose reference can be compared with; the others are refused before an evaluation starts."""
    from repro.verifiers import GoldError, Verifier

    verifier, kept = Verifier(), []
    for gold, output in rows:
        try:
            verifier.check_gold(gold)
            kept.append((gold, output))
        except GoldError:
            continue
    return kept


def lengthened(rows: Pairs) -> Pairs:
    """Every output behind a stretch of all outputs, ``LONG`` characters in all; that stretch commits to no answer of its own."""
    text, made = "\n\n".join(output for _, output in rows).replace("boxed", "mathrm").replace("nswer", "rea"), []
    text = text * (LONG // max(1, len(text)) + 1)
    for index, (gold, output) in enumerate(rows):
        start = 4096 * index % max(1, len(text) - LONG)
        made.append((gold, f"{text[start : start + max(0, LONG - len(output))]}\n\n{output}"))
    return made


def measure(rows: Pairs, symbolic: bool, repeats: int) -> tuple[list[float], list[float], float, int]:
    """(wall seconds of every repeat, CPU seconds of it with its workers, share of correct responses, pairs killed in the last one)."""
    from repro.verifiers import Verifier

    seconds, worked, share, killed = [], [], 0.0, 0
    golds, outputs = [gold for gold, _ in rows], [output for _, output in rows]
    for _ in range(repeats):
        before = os.times()
        with Verifier(cache_size=0, symbolic=symbolic) as verifier:
            start = time.perf_counter()
            verdicts = verifier.verify_batch(golds, outputs)
            seconds.append(time.perf_counter() - start)
            share, killed = sum(v.correct for v in verdicts) / len(verdicts), verifier.timeouts
        worked.append(sum(os.times()[:4]) - sum(before[:4]))  # workers count once they ended
    return seconds, worked, share, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    parser.add_argument("--beside", default="", help="what else the machine was doing, for the line below the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for everything, workers included

    from repro.manifest import environment
    from repro.report.readme import RESULTS

    kept, source = pairs()
    kept = usable(kept)
    rows = [kept[i % len(kept)] for i in range(options.responses)]
    table = [
        "| verifier | responses | characters, mean | CPU seconds, best | wall seconds, best | worst | responses/s | correct % | killed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, symbolic, given in (
        ("rules alone, one process", False, rows),
        ("default, workers on the same core", True, rows),
        ("default, long responses", True, lengthened(rows)),
    ):
        seconds, worked, share, killed = measure(given, symbolic, options.repeats)
        best, worst, length = min(seconds), max(seconds), sum(len(output) for _, output in given) / len(given)
        cells = f"{len(given):,} | {length:,.0f} | {min(worked):.2f} | {best:.2f} | {worst:.2f} | {len(given) / best:,.0f} | {100 * share:.2f} | {killed}"
        table.append(f"| {name} | {cells} |")
    facts, memory = environment(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    repeated = "" if len(kept) >= len(rows) else f", {len(kept):,} different ones repeated"
    table += [
        "",
        f"Target: {TARGET:g} s of one core. {options.repeats} {'runs' if options.repeats > 1 else 'run'}; peak memory {memory:.2f} GiB.",
        f"{facts['cpu']}, one core{options.beside and ', ' + options.beside}, {source}{repeated}, commit {facts['commit'][:10]}.",
    ]
    print("\n".join(table))
    if options.write:
        (RESULTS / "scoring_bench.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
