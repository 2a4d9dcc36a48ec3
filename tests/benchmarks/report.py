"""Time and memory of the report of 1,000,000 sample records, against the target: under 60 s and under 4 GiB.

Makes cells as a sweep leaves them (2 arms x 5 seeds, each after SFT and after RL, so 20 evaluations of 500 questions x 100 samples, with responses of some 300
characters and RL curves), then runs ``python -m repro.report`` on them in a process of its own, as a user would, page and samples included.
Then, where there is Chromium, a page with 100,000 samples: seconds until it shows the first, and the longest time that a choice in it takes.

    python -m tests.benchmarks.report [--records 1000000] [--write]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.report import study
from tests.report.browser import chromium

SECONDS, GIB = 60.0, 4.0
QUESTIONS, PER = 500, 100


def samples(share: float, questions: int = 0, rng: np.random.Generator | None = None) -> pa.Table:
    """One evaluation, in place of ``study.samples``: columns instead of rows, ``PER`` samples a question, responses that differ."""
    rng = rng or np.random.default_rng(0)
    count = QUESTIONS * PER
    correct = rng.random(count) < share
    tokens = rng.integers(20, 100, count)
    tries = np.array([f"x{i % 7} 6 C 4 5 B 6 0 A {i % 5} = {i % 3}\n" for i in range(997)])
    text = np.char.add(np.char.multiply(tries[rng.integers(0, 997, count)], 13), np.arange(count).astype(str))
    same = {"benchmark": "micro_math", "level": "degree 1", "subject": None, "order": None, "prompt_style": "micro", "prompt_hash": "0"}
    same |= {"gold": "1", "finish_reason": "stop", "extracted": "1", "rule": "number", "reason": "", "verifier_version": "rule-1.0"}
    columns = {name: [value] * count for name, value in same.items()} | {"benchmark_version": np.ones(count, int), "tokens": tokens}
    columns |= {"question_id": np.char.add("q", (np.arange(count) // PER).astype(str)), "sample_index": np.arange(count) % PER}
    columns |= {"correct": correct, "response": text}
    schema = study.schema()
    return pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def in_browser(root: Path) -> str:
    """A sentence on the page with 100,000 samples; empty without Chromium."""
    command = [sys.executable, "-m", "repro.report", str(root / "sweeps"), "--samples", "25000", "--out", str(root / "page")]
    subprocess.run(command, capture_output=True, check=True)
    browser = chromium(1280, "light")
    if browser is None:
        return ""
    try:
        start = time.perf_counter()
        browser.get((root / "page" / "report.html").as_uri())
        browser.find_element("css selector", ".sample")
        loaded = time.perf_counter() - start
        took = "const t = performance.now(); {}; document.body.offsetHeight; return performance.now() - t"
        event = "dispatchEvent(new Event('change'))"
        asked = [f"pick.selectedIndex = {i}; pick.{event}" for i in range(len(browser.find_elements("css selector", "#pick option")))]
        asked += ["more.click()", *(f"only.value = '{kind}'; only.{event}" for kind in ("wrong", "no answer", "right"))]
        slowest = max(browser.execute_script(took.format(one)) for one in asked)
        total = sum(int(one.get_attribute("data-total")) for one in browser.find_elements("css selector", "#pick option"))
    finally:
        browser.quit()
    size = (root / "page" / "report.html").stat().st_size / 2**20
    return f"A page of {total:,} samples ({size:.0f} MiB) opens in Chromium in {loaded:.1f} s; its slowest choice takes {slowest / 1000:.2f} s."


def main() -> None:
    global PER
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    PER = max(2, options.records // (20 * QUESTIONS))
    study.samples, study.SAMPLES = samples, PER
    study.CONFIG["eval"] |= {"questions": QUESTIONS, "samples": PER}

    from repro.manifest import environment
    from repro.report.readme import RESULTS

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(1)
        for reward, share in (("classic", 0.6), ("cosine", 0.66)):
            for seed in range(5):
                made = study.config(reward, seed, sft__name="long" if reward == "classic" else "short")
                shares = {"sft": 0.5, "rl": share + rng.normal(0, 0.01)}
                study.write(root, made, shares, np.linspace(0.3, share, study.STEPS))
        size = sum(path.stat().st_size for path in root.rglob("records.parquet")) / 2**20
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "repro.report", str(root / "sweeps")], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(done.stderr)
        page = (root / "sweeps" / "report" / "report.html").stat().st_size / 2**20
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        browsed = in_browser(root)
    count, facts = 20 * QUESTIONS * PER, environment()
    lines = ["| report of | seconds | peak memory, GiB | page, MiB |", "|---|---:|---:|---:|"]
    lines.append(f"| {count:,} records ({size:.0f} MiB of Parquet) | {seconds:.1f} | {memory:.2f} | {page:.1f} |")
    lines += ["", browsed] if browsed else []
    lines += ["", f"Target: {SECONDS:g} s, {GIB:g} GiB. {facts['cpu']}, one run, commit {facts['commit'][:10]}."]
    print("\n".join(lines))
    if options.write:
        (RESULTS / "report_bench.md").write_text("\n".join(lines) + "\n")
    if count >= 1_000_000 and (seconds > SECONDS or memory > GIB):
        raise SystemExit("over the target")


if __name__ == "__main__":
    main()
