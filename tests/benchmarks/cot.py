"""Speed and memory of the chain-of-thought metrics, against the target: 100,000 recorded-length responses in under 60 s and under 4 GiB.

    REPRO_DATA_DIR=... OMP_NUM_THREADS=1 python -m tests.benchmarks.cot [--write]            half a minute, one core
    OMP_NUM_THREADS=1 python -m tests.benchmarks.cot --responses 20000 --long 1000           smaller, on synthetic chains

With ``REPRO_DATA_DIR`` the texts are those of ``raw_generations.jsonl.gz``, repeated in order up to the number asked for and held in memory
as separate strings, as records are. Without it they are synthetic sentences of log-normal length, and the table says so. A second row has
chains of some 8,000 tokens (recorded texts joined), on as many as are asked for, with the time for 100,000 of them scaled from that. Times
are CPU seconds of one core, of one call; memory is the peak of the whole process (texts, records and Python included). The last rows are
the metrics of records (16 samples a question) and the repetition of token ids.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evals.metrics import avg_at_k, breakdown, length_difficulty, lengths, maj_at_k, no_answer_share, pass_at_k, text_metrics
from repro.cot import repeated_tokens

SENTENCES = (
    "Let me double-check that the sum of the first {} terms is {}. ",
    "So we multiply {} by {} and simplify the fraction. ",
    "Wait, that's not right, because {} is larger than {}. ",
    "Alternatively, we could try n = {} and compare it with {}.\n\n",
    "First, we need to find the value at x = {}, which is {}.\n",
    "The angle at the vertex is {} degrees, and the other one is {}. ",
)


def recorded() -> list[str]:
    """The recorded responses."""
    with gzip.open(Path(os.environ["REPRO_DATA_DIR"]) / "raw_generations.jsonl.gz", "rt") as file:
        return [json.loads(line)["output"] for line in file]


def synthetic() -> list[str]:
    """2,000 chains with the lengths of long-tailed text: median 1,600 characters, some of 15,000."""
    generator = np.random.default_rng(0)
    chains = []
    for characters in np.minimum(generator.lognormal(7.4, 0.8, 2000), 30_000):
        pieces: list[str] = []
        while sum(map(len, pieces)) < characters:
            pieces.append(SENTENCES[generator.integers(len(SENTENCES))].format(*generator.integers(1, 1000, 2)))
        chains.append("".join(pieces))
    return chains


def resized(texts: list[str], count: int, characters: int = 0) -> list[str]:
    """``count`` texts, each its own object; of at least ``characters`` characters where that is given."""
    if not characters:
        return [texts[i % len(texts)] + " " for i in range(count)]
    made, at = [], 0
    while len(made) < count:
        parts: list[str] = []
        while sum(map(len, parts)) < characters:
            parts.append(texts[at % len(texts)])
            at += 1
        made.append("\n\n".join(parts))
    return made


def as_records(texts: list[str]) -> dict[str, list]:
    """Sample records of the texts, 16 samples a question."""
    generator = np.random.default_rng(0)
    size = len(texts)
    return {
        "question_id": [f"q{i // 16}" for i in range(size)],
        "sample_index": [i % 16 for i in range(size)],
        "correct": (generator.random(size) < 0.5).tolist(),
        "extracted": [None if n > 8 else str(n) for n in generator.integers(0, 10, size).tolist()],
        "level": [i // 16 % 5 for i in range(size)],
        "tokens": [len(text) // 3 for text in texts],  # some three characters a token in mathematical text
        "finish_reason": ["stop"] * size,
        "response": texts,
    }


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def peak_gigabytes() -> float:
    """Largest resident memory of this process so far, in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def of_records(records: dict[str, list]) -> None:
    """Every metric of records that does not read the text."""
    whole = len(records["question_id"]) // 16 * 16
    records = {name: column[:whole] for name, column in records.items() if name != "response"}
    avg_at_k(records)
    pass_at_k(records, 8)
    maj_at_k(records, 8)
    lengths(records)
    no_answer_share(records)
    length_difficulty(records)
    breakdown(records, "level")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=100_000)
    parser.add_argument("--long", type=int, default=2000, help="chains of some 8,000 tokens")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    parser.add_argument("--beside", default="", help="what else the machine was doing, for the line below the table")
    options = parser.parse_args()

    from repro.manifest import environment
    from repro.report.readme import RESULTS

    real = "REPRO_DATA_DIR" in os.environ
    source = recorded() if real else synthetic()
    lines = [
        "| metrics | responses | characters, mean | seconds | MB/s | 100,000 take, s | peak, GiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]

    def row(what: str, count: int, characters: float, taken: float) -> None:
        speed = f"{count * characters / taken / 1e6:.1f}" if characters else "-"
        long = f"{characters:,.0f}" if characters else "-"
        lines.append(f"| {what} | {count:,} | {long} | {taken:.2f} | {speed} | {taken * 100_000 / count:.1f} | {peak_gigabytes():.2f} |")

    for what, texts in (
        ("of the text", resized(source, options.responses)),
        ("of the text, some 8,000 tokens each", resized(source, options.long, 24_000)),
    ):
        records = as_records(texts)
        mean = sum(map(len, texts)) / len(texts)
        row(what, len(texts), mean, seconds(lambda records=records: text_metrics(records)))
        if what == "of the text":
            row("avg@k, pass@8, maj@8, lengths, breakdown", len(texts), 0, seconds(lambda records=records: of_records(records)))
        del records, texts
    ids = np.minimum(np.random.default_rng(0).zipf(1.2, (options.long, 8192)), 128_000)
    row("repetition of 8,192 token ids, 40-grams", options.long, 0, seconds(lambda: repeated_tokens(ids)))
    facts = environment()
    texts = "raw_generations, repeated in order" if real else "SYNTHETIC (REPRO_DATA_DIR is unset)"
    lines += ["", f"Target: 100,000 of recorded length in 60 s and 4 GiB. CPU seconds of one core; texts: {texts}."]
    lines += [f"{facts['cpu']}{options.beside and ', ' + options.beside}, commit {facts['commit'][:10]}."]
    print("\n".join(lines))
    if options.write:
        (RESULTS / "cot_bench.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
