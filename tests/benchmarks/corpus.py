"""De-duplication and phrase search over a generated corpus that streams from a generator: MB/s of one core, peak memory of the process.

Beside it, on a sample of the same corpus in the same run, the naive loop: a datasketch MinHash a document into MinHashLSH, and a MinHash a
sentence into a MinHashLSHForest of the queries. Times are CPU seconds of the process, all its threads together, so that other work on the
machine does not enter; what generating the corpus takes is timed inside the stream and taken off.

    nice python -m tests.benchmarks.corpus [--bytes 5e9] [--sample 2e6] [--write]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def peak() -> float:
    """GiB of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def naive_dedup(texts: list[str]) -> set[int]:
    from datasketch import MinHash, MinHashLSH

    from repro.data.minhash import PERMUTATIONS, THRESHOLD, shingles

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), set()
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS)
        for shingle in shingles(text):
            sketch.update(shingle.encode())
        if index.query(sketch):
            found.add(number)
        else:
            index.insert(str(number), sketch)
    return found


def naive_search(texts: list[str], queries: list[str]) -> int:
    from datasketch import MinHash, MinHashLSHForest

    from repro.data.traces import SENTENCE, SIMILARITY, WORD, trigrams

    def sketch(text: str) -> MinHash:
        made = MinHash(num_perm=128)
        for gram in trigrams(WORD.findall(text.lower())):
            made.update(gram.encode())
        return made

    forest, sketches = MinHashLSHForest(num_perm=128), {q: sketch(q) for q in queries}
    for query, made in sketches.items():
        forest.add(query, made)
    forest.index()
    matches = 0
    for text in texts:
        for sentence in SENTENCE.split(text):
            made = sketch(sentence)
            matches += any(made.jaccard(sketches[q]) >= SIMILARITY for q in forest.query(made, 10))
    return matches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=float, default=5e9)
    parser.add_argument("--sample", type=float, default=2e6, help="bytes for the naive loops")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    from repro.data.corpus import generated
    from repro.data.minhash import duplicates, write_signatures
    from repro.data.traces import load_queries, search, truth_table
    from repro.manifest import environment
    from repro.report.readme import RESULTS

    queries = load_queries()
    phrases = list(queries["queries"])
    size = int(options.bytes)

    spent = 0.0  # in generating, since the last call of timed()
    total = 0

    def timed(work):
        nonlocal spent
        start, spent = time.process_time(), 0.0
        return work(), time.process_time() - start - spent

    def made():
        nonlocal spent, total
        total, stream = 0, generated(size, phrases)
        while True:
            start = time.process_time()
            document = next(stream, None)
            spent += time.process_time() - start
            if document is None:
                return
            total += len(document.text)
            yield document

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signatures"
        count, signing = timed(lambda: write_signatures((d.text for d in made()), path))
        removed, joining = timed(lambda: int(duplicates(path).sum()))
    print(f"de-duplication: {total / 1e9:.2f} GB, {signing:.0f} s to sign and {joining:.0f} s to join, peak {peak():.2f} GiB", flush=True)
    found, searching = timed(lambda: search(made(), queries))
    highest = peak()  # before the naive loops
    texts = [d.text for d in generated(int(options.sample), phrases)]
    sample = sum(map(len, texts))
    slow, slow_dedup = timed(lambda: naive_dedup(texts))
    matches, slow_search = timed(lambda: naive_search(texts, phrases))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signatures"
        write_signatures(texts, path)
        same = duplicates(path)
    ours_matches = sum(
        r["matches"] + r["trivial_matches"] for r in search(generated(int(options.sample), phrases), queries)["rates"].values()
    )
    dedup, naive = total / 1e6 / (signing + joining), sample / 1e6 / slow_dedup
    traces, naive_traces = total / 1e6 / searching, sample / 1e6 / slow_search
    facts = environment()
    lines = [
        "| one core | MB/s | datasketch loop, MB/s | times | found here / by the loop, on its sample |",
        "|---|---:|---:|---:|---:|",
        f"| MinHash de-duplication | {dedup:.1f} | {naive:.2f} | {dedup / naive:.0f} | {int(same.sum())} / {len(slow)} |",
        f"| phrase search | {traces:.1f} | {naive_traces:.2f} | {traces / naive_traces:.0f} | {ours_matches} / {matches} |",
        "",
        f"{total / 1e9:.2f} GB generated ({count:,} documents, {removed:,} near duplicates removed), peak memory {highest:.2f} GiB. The loops ran on "
        f"{sample / 1e6:.1f} MB. CPU seconds; {facts['cpu']}, commit {facts['commit'][:10]}. What the search finds of the planted phrases:",
        "",
        *truth_table(found["truth"]),
        "",
        "The search is exact; a word added within a short phrase leaves it fewer than half of its trigrams, which is no match by the paper's definition.",
    ]
    print("\n".join(lines))
    if options.write:
        (RESULTS / "corpus_bench.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
