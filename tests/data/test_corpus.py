"""De-duplication and phrase search: truth of a generated corpus, resuming, memory that does not grow with it, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repro.config import ConfigError
from repro.data.corpus import documents, generated, kind_of
from repro.data.minhash import duplicates, shingles, write_signatures
from repro.data.traces import Searcher, load_queries, rate, ratio, search


def jaccard(a: str, b: str) -> float:
    x, y = set(shingles(a)), set(shingles(b))
    return len(x & y) / len(x | y)


def test_duplicates_are_the_ones_exact_comparison_finds(tmp_path: Path) -> None:
    texts = [d.text for d in generated(400_000, [])]
    write_signatures(texts, tmp_path / "s")
    found = duplicates(tmp_path / "s")
    best = [max((jaccard(t, u) for u in texts[:i]), default=0.0) for i, t in enumerate(texts)]
    assert all(found[i] for i, s in enumerate(best) if s > 0.92) and not any(found[i] for i, s in enumerate(best) if s < 0.65)
    assert found.sum() > 0


def test_signatures_go_on_where_a_killed_run_was(tmp_path: Path) -> None:
    texts = [d.text for d in generated(200_000, [])]
    write_signatures(texts, tmp_path / "whole")
    write_signatures(texts[:30], tmp_path / "part")
    with open(tmp_path / "part", "ab") as file:
        file.write(b"half a signature")
    assert write_signatures(texts, tmp_path / "part") == len(texts)
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()
    with pytest.raises(ConfigError, match="another folder"):
        write_signatures(texts[:3], tmp_path / "part")


def test_empty_corpora_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with pytest.raises(ConfigError, match="empty"):
        duplicates(tmp_path / "s")
    (tmp_path / "c.jsonl").touch()
    with pytest.raises(ConfigError, match="is empty"):
        list(documents(str(tmp_path / "c.jsonl")))


def test_search_equals_exhaustive_comparison() -> None:
    queries = load_queries()["queries"]
    searcher = Searcher(queries)
    grams = dict(searcher.queries)
    from repro.data.traces import SENTENCE, WORD, trigrams

    for document in generated(60_000, list(queries)):
        for sentence in SENTENCE.split(document.text):
            own = trigrams(WORD.findall(sentence.lower()))
            expected = {q for q, g in grams.items() if len(own & g) / len(own | g) >= 0.5}
            assert set(searcher.match(sentence)) == expected


def test_planted_phrases_and_rates() -> None:
    queries = load_queries()
    one = search(generated(5_000_000, list(queries["queries"])), queries)
    assert one["truth"]["precision"] > 0.95 and 0.5 < one["truth"]["recall"] < 1
    kinds = one["truth"]["by_kind"]
    assert set(kinds) == {"forum", "other"} and sum(t["planted"] for t in kinds.values()) == one["truth"]["planted"]
    for found in (
        one["truth"],
        *kinds.values(),
    ):  # what stands word for word is found; a word added is often another phrase by the definition
        assert found["recall_verbatim"] == 1 and found["recall_word_added"] < found["recall"] < 1
    assert one["ratio"]["low"] > 1
    two = search(generated(5_000_000, list(queries["queries"])), queries, processes=2)
    assert {**two, "examples": 0} == {**one, "examples": 0}
    assert queries["queries"]["wait actually"]["trivial"] and not queries["queries"]["let us try another approach"]["trivial"]


def test_interval_covers_the_true_rate_where_matches_cluster() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        s = np.full(400, 50.0)
        m = np.where(rng.random(400) < 0.1, rng.poisson(5, 400), 0)  # few documents hold most matches: 0.5 a document
        facts = rate([400, s.sum(), m.sum(), 0, (m * m).sum(), (m * s).sum(), (s * s).sum()])
        covered += facts["low"] <= 1e6 * 0.5 / 50 <= facts["high"]
    assert covered > 0.9 * 300
    assert rate([10, 500, 0, 0, 0, 0, 0])["low"] == 0 and rate([10, 500, 0, 0, 0, 0, 0])["high"] > 0
    assert ratio({"forum": facts}) is None


def test_document_types() -> None:
    assert kind_of("https://math.stackexchange.com/questions/1/x") == kind_of("https://www.physicsforums.com/threads/x.1/") == "forum"
    assert kind_of("https://en.wikipedia.org/wiki/Ring") == "other" and kind_of("") == "unknown"


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("", [], "is empty"),
        ('{"body": "x"}', [], "no text column 'text'"),
        ("[1", [], "line 1: not a JSON object"),
        ('{"text": "x"}', ["--queries", "nowhere.yaml"], "queries nowhere.yaml"),
        ('{"text": "x"}', ["--processes", "0"], "processes=0"),
        ('{"text": "x"}', ["--out", "nowhere/x.json"], "there is no folder nowhere"),
        ('{"text": "x"}', ["--queries", "LATIN"], "cannot be read (UnicodeDecodeError)"),
        ('{"text": "caf\xe9"}', [], "line 1: not UTF-8 (byte 0xe9)"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, content: str, arguments: list[str], words: str) -> None:
    (tmp_path / "c.jsonl").write_text(content, encoding="latin-1")
    (tmp_path / "latin").write_bytes(b"\xe9")
    arguments = [str(tmp_path / "latin") if a == "LATIN" else a for a in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "repro.data.traces", str(tmp_path / "c.jsonl"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [f"document {i}" for i in range(1000)]}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.parquet").write_bytes(whole[:4] + bytes(100) + whole[104:])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000)[:-20])
    (tmp_path / "none.jsonl.gz").write_bytes(b'{"text": "a"}\n')
    for name in ("cut.parquet", "page.parquet", "cut.jsonl.gz", "none.jsonl.gz"):
        with pytest.raises(ConfigError, match="copy it again") as raised:
            list(documents(str(tmp_path / name)))
        assert "\n" not in str(raised.value) and name in str(raised.value)


def test_files_are_searched(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "Let us try another approach. Fine.", "url": "https://forum.x/threads/1"}) + "\n")
    (tmp_path / "d.txt").write_text("Nothing here.\n\nThat makes sense now.\n")
    found = search(documents(str(tmp_path)), load_queries())
    assert found["rates"]["forum"]["matches"] == 1 and found["rates"]["unknown"]["matches"] == 1
