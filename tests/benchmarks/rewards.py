"""Speed of the rewards on a rollout batch of 8,192 responses x 4,096 tokens, beside a straightforward Python version in the same run.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.rewards [--write]             a Markdown table; about 3 GB of memory, two minutes
    OMP_NUM_THREADS=1 python -m tests.benchmarks.rewards --responses 1024      smaller

Times are process CPU seconds of one core, the best of three. Token ids come as Python lists, as trainers hand them over, and as numpy
arrays. The Python version (a set of tuples; lists, which suit it best) runs on the first 16 responses only and is scaled to the batch; on
those its penalties must equal ours exactly. Memory is the peak of one call beyond its input, its result included (tracemalloc, in a run of
its own).
"""

from __future__ import annotations

import argparse
import math
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from repro.manifest import environment
from repro.report.readme import RESULTS
from repro.rewards import cosine, dense_repetition

SUBSET = 16


def set_of_tuples(ids: list[int], ngram_size: int = 40, penalty: float = -0.05) -> list[float]:
    """The definition, as one would write it."""
    reward, seen = [0.0] * len(ids), set()
    for start in range(len(ids) - ngram_size + 1):
        gram = tuple(ids[start : start + ngram_size])
        if gram in seen:
            reward[start : start + ngram_size] = [penalty] * ngram_size
        seen.add(gram)
    return reward


def cosine_loop(lengths: list[int], correct: list[bool], max_length: int) -> list[float]:
    """The cosine reward, one response at a time."""
    rewards = []
    for length, right in zip(lengths, correct, strict=True):
        start, end = (2.0, 1.0) if right else (-10.0, 0.0)
        exceeds = length + 16 >= max_length
        rewards.append(-10.0 if exceeds else end + 0.5 * (start - end) * (1 + math.cos(math.pi * length / max_length)))
    return rewards


def streams(kind: str, responses: int, tokens: int) -> np.ndarray:
    """Token ids, int64 [responses, tokens]."""
    generator = np.random.default_rng(0)
    if kind == "random":
        return generator.integers(0, 128_000, (responses, tokens))
    if kind == "degenerate":
        return np.full((responses, tokens), 7)
    # Word frequencies as in text; every second response says something twice, every eighth ends in a loop.
    ids = np.minimum(generator.zipf(1.2, (responses, tokens)), 128_000)
    for row in ids[::2]:
        source, size = generator.integers(0, tokens // 2), generator.integers(60, max(61, tokens // 10))
        row[tokens // 2 : tokens // 2 + size] = row[source : source + size].copy()
    for row in ids[::8]:
        row[-tokens // 4 :] = np.resize(row[:50], tokens // 4)
    return ids


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Best CPU time of ``repeats`` calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def peak_megabytes(function: Callable[[], object]) -> float:
    """Peak of the memory that a call allocates."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def dense_row(kind: str, responses: int, tokens: int) -> str:
    """The table's row for one kind of stream."""
    ids = streams(kind, responses, tokens)
    lists = ids.tolist()
    for ours, expected in zip(dense_repetition(lists[:SUBSET]), map(set_of_tuples, lists[:SUBSET]), strict=True):
        assert ours.tolist() == expected, kind
    python = seconds(lambda: [set_of_tuples(row) for row in lists[:SUBSET]]) * responses / min(SUBSET, responses)
    of_lists, of_arrays = seconds(lambda: dense_repetition(lists)), seconds(lambda: dense_repetition(ids))
    peak = peak_megabytes(lambda: dense_repetition(ids))
    times = f"{of_lists:.2f} | {of_arrays:.2f} | {python:.1f}"
    return f"| dense repetition | {kind} | {times} | {python / of_lists:.0f}x | {python / of_arrays:.0f}x | {peak:.0f} |"


def cosine_row(responses: int, tokens: int) -> str:
    """The table's row for the cosine reward, which needs the lengths only; its Python version runs on all of them."""
    generator = np.random.default_rng(1)
    lengths, correct = generator.integers(1, tokens + 1, responses), generator.random(responses) < 0.5
    as_lists = lengths.tolist(), correct.tolist()
    assert np.allclose(cosine(lengths, correct, max_length=tokens), cosine_loop(*as_lists, tokens), rtol=0, atol=1e-12)
    python = seconds(lambda: cosine_loop(*as_lists, tokens))
    of_lists, of_arrays = (
        seconds(lambda: cosine(*as_lists, max_length=tokens)),
        seconds(lambda: cosine(lengths, correct, max_length=tokens)),
    )
    peak = peak_megabytes(lambda: cosine(lengths, correct, max_length=tokens))
    times = f"{of_lists:.5f} | {of_arrays:.5f} | {python:.5f}"
    return f"| cosine | (lengths) | {times} | {python / of_lists:.0f}x | {python / of_arrays:.0f}x | {peak:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--responses", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    table = ["| reward | token ids | lists | arrays | Python | lists faster | arrays faster | peak MB |"]
    table.append("|---|---|---:|---:|---:|---:|---:|---:|")
    table += [dense_row(kind, options.responses, options.tokens) for kind in ("random", "partly repeated", "degenerate")]
    table.append(cosine_row(options.responses, options.tokens))
    facts = environment()
    table += [
        "",
        f"{options.responses:,} responses x {options.tokens:,} tokens, N = 40; CPU seconds, best of 3; the Python version of the dense penalty "
        f"is scaled from {SUBSET} responses. {facts['cpu']}, one core, commit {facts['commit'][:10]}.",
    ]
    print("\n".join(table))
    if options.write:
        (RESULTS / "rewards_bench.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
