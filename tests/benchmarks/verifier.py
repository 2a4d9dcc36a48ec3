"""Speed of the verifier beside math-verify and TRL's accuracy reward on the same rows, in one run on one core; and what bombs cost.

The rows are recorded model outputs where REPRO_DATA_DIR is set (graded_generations), else made from the paper's kinds of answers by a seeded
generator. The slow ones are timed on a sample of the rows. No cache is used.

    REPRO_DATA_DIR=... python -m tests.benchmarks.verifier [--sample 300] [--write]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
BOMBS = [  # as models and adversaries write them; each gets a number of its own, so that none is like another
    "9^{9^{9^{%d}}}",
    "(10^{10}+%d)!",
    "\\binom{10^9}{%d}",
    "\\sum_{k=1}^{10^{12}} \\frac{%d}{k^2}",
    "x^{x^{x^{x^{%d}}}}",
    "\\sqrt{" * 80 + "%d" + "}" * 80,
    "(" * 3000 + "%d" + ")" * 3000,
    "%d" + "7" * 1800,
]
ALGEBRA = "\\int_0^1 " + "\\sin(" * 9 + "x^%d" + ")" * 9 + " dx"  # short, so that only a worker can find out


def pairs() -> tuple[list[tuple[str, str]], str]:
    """(gold, output) rows, shuffled by a fixed seed, and where they come from."""
    folder = os.environ.get("REPRO_DATA_DIR")
    rng = random.Random(0)
    if folder:
        with gzip.open(Path(folder) / "graded_generations.jsonl.gz", "rt") as file:
            rows = [json.loads(line) for line in file]
        found = [(row["gold"], row["output"]) for row in rows if row["label"] is not None]
        source = "recorded model outputs (graded_generations)"
    else:
        found = []
        for _ in range(3000):
            a, b = rng.randrange(1, 99), rng.randrange(2, 99)
            gold = rng.choice([str(a), f"\\frac{{{a}}}{{{b}}}", f"{a}\\sqrt{{{b}}}", f"({a},{b})", f"x^2+{a}x-{b}"])
            found.append((gold, "Some steps of work. " * rng.randrange(5, 80) + f"So the answer is $\\boxed{{{gold}}}$."))
        source = "made up by a seeded generator (REPRO_DATA_DIR is unset)"
    rng.shuffle(found)
    return found, source


def timed(check: Callable[[str, str], object], rows: list[tuple[str, str]]) -> list[float]:
    """Seconds of every pair, in order of time."""
    seconds = []
    for gold, output in rows:
        start = time.perf_counter()
        check(gold, output)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def line(name: str, seconds: list[float]) -> str:
    def at(share: float) -> str:
        return f"{1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]:.2f}"

    return f"| {name} | {len(seconds)} | {len(seconds) / sum(seconds):,.0f} | {at(0.5)} | {at(0.99)} | {1000 * seconds[-1]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300, help="rows for the slow verifiers")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for everything, workers included
    from math_verify import parse, verify
    from trl.rewards import accuracy_reward

    from repro.manifest import environment
    from repro.report.readme import RESULTS
    from repro.verifiers import GoldError, Verifier

    ours = Verifier(cache_size=0)
    rows, source = pairs()
    kept = []
    for gold, output in rows:
        try:
            ours.check_gold(gold)
            kept.append((gold, output))
        except GoldError:
            continue
    few = kept[: options.sample]
    ours.verify("\\int_0^1 x dx", "\\boxed{1}")  # start the worker and load the libraries
    table = ["| verifier | pairs | pairs/s | p50 ms | p99 ms | worst ms |", "|---|---:|---:|---:|---:|---:|"]
    table.append(line("repro", timed(ours.verify, kept)))
    table.append(line("repro, the sample", timed(ours.verify, few)))
    table.append(line("math-verify", timed(lambda gold, output: verify(parse(f"${gold}$"), parse(output)), few)))
    message = [{"role": "assistant", "content": ""}]
    table.append(
        line("TRL accuracy_reward", timed(lambda gold, output: accuracy_reward([[{**message[0], "content": output}]], [f"${gold}$"]), few))
    )
    start = time.perf_counter()
    ours.verify_batch([g for g, _ in kept], [o for _, o in kept])
    calm = len(kept) / (time.perf_counter() - start)
    bombed, stuck, killed = {}, len(kept) // 100, {}
    for name, bomb in (("bombs", lambda i: BOMBS[i % len(BOMBS)] % (i + 12)), ("algebra", lambda i: ALGEBRA % (i + 2))):
        every = 20 if name == "bombs" else len(kept) // stuck
        mixed = [pair for i, pair in enumerate(kept) for pair in ([("7", f"\\boxed{{{bomb(i)}}}"), pair] if i % every == 0 else [pair])]
        with Verifier(cache_size=0, workers=8, deadline=0.5) as eight:
            eight.verify("\\int_0^1 x dx", "\\boxed{1}")
            start = time.perf_counter()
            eight.verify_batch([g for g, _ in mixed], [o for _, o in mixed])
            bombed[name] = len(mixed) / (time.perf_counter() - start)
            killed[name] = eight.timeouts
            # On a busy machine a try may end at its deadline; a lost worker would end them all.
            assert any(eight.verify("\\int_0^1 x dx", "\\boxed{\\frac{1}{2}}").correct for _ in range(20)), "a worker was lost"
    facts = environment()
    table += [
        "",
        f"A batch: {calm:,.0f} pairs/s; with 5 % bombs: {bombed['bombs']:,.0f} pairs/s ({killed['bombs']} killed at their deadline of 0.5 s); "
        f"with 1 % that only computer algebra could decide and does not: {bombed['algebra']:,.0f} pairs/s "
        f"({killed['algebra']} killed). No worker lost; 8 workers on the one core.",
        f"{facts['cpu']}, one core, {source}, commit {facts['commit'][:10]}.",
    ]
    print("\n" + "\n".join(table))
    if options.write:
        (RESULTS / "verifier_bench.md").write_text("\n".join(table) + "\n")
    ours.close()


if __name__ == "__main__":
    main()
