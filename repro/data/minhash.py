"""Near-duplicate removal for corpora of any size: MinHash signatures on disk, buckets one band at a time.

Signatures come from rensa (Rust; `tests/benchmarks/corpus.py` compares it with a datasketch loop). An LSH index in memory grows by a kilobyte
and more a document; here 128 x 4 bytes a document go to a file and only one band, 8 bytes a document, is sorted in memory. The result does not
depend on the order of work: of two documents above the threshold the earlier one stays. The file is also the state: a killed run goes on
behind its last whole signature.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from repro.config import ConfigError

PERMUTATIONS, ROWS = 128, 8  # 16 bands of 8: two documents of similarity 0.8 meet in a bucket with probability 0.95
THRESHOLD = 0.8  # estimated Jaccard similarity of word trigrams; the paper does not print its own
SEED, BATCH = 0, 512
WORD = re.compile(r"\w+")


def shingles(text: str) -> list[str]:
    """Word trigrams in lower case; all words where there are fewer than three."""
    words = WORD.findall(text.lower())
    return [" ".join(three) for three in zip(words, words[1:], words[2:], strict=False)] or words or [""]


def sign(texts: list[str]) -> np.ndarray:
    """(documents, 128) uint32."""
    from rensa import RMinHash

    return np.array(RMinHash.digests_from_token_sets([shingles(t) for t in texts], PERMUTATIONS, SEED), dtype=np.uint32)


def write_signatures(texts: Iterable[str], path: Path) -> int:
    """Append the signatures of ``texts`` that ``path`` lacks (all texts are given, also when resuming); returns how many there are.

    Raises:
        ConfigError: ``path`` holds more signatures than there are texts: it is of another corpus.
    """
    width = PERMUTATIONS * 4
    done = path.stat().st_size // width if path.exists() else 0
    stream = iter(texts)
    skipped = sum(1 for _ in itertools.islice(stream, done))
    if skipped < done:
        raise ConfigError(f"{path} holds {done} signatures, but the corpus has {skipped} documents: choose another folder")
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.truncate(done * width)  # a half-written one
        file.seek(done * width)
        while batch := list(itertools.islice(stream, BATCH)):
            file.write(sign(batch).tobytes())
            done += len(batch)
    return done


def duplicates(path: Path, threshold: float = THRESHOLD) -> np.ndarray:
    """Bool of every document: similar to an earlier one. Compares with the first and the previous document of each bucket.

    Raises:
        ConfigError: no signatures.
    """
    if not path.stat().st_size:
        raise ConfigError("the corpus is empty: nothing to de-duplicate")
    signatures = np.memmap(path, dtype=np.uint32, mode="r").reshape(-1, PERMUTATIONS)
    found = np.zeros(len(signatures), dtype=bool)
    for start in range(0, PERMUTATIONS, ROWS):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(start, start + ROWS):  # FNV-1a over the band
            key = (key ^ signatures[:, column].astype(np.uint64)) * np.uint64(1099511628211)
        order = np.argsort(key, kind="stable")  # equal keys stay in the order of the corpus
        ordered = key[order]
        same = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        if not len(same):
            continue
        first = np.searchsorted(ordered, ordered[same])
        for partner in (order[first], order[same - 1]):
            later = order[same]
            todo = ~found[later]
            for block in range(0, int(todo.sum()), 4096):  # bounded memory whatever the number of pairs
                a, b = later[todo][block : block + 4096], partner[todo][block : block + 4096]
                found[a[(signatures[a] == signatures[b]).mean(1) >= threshold]] = True
    return found
