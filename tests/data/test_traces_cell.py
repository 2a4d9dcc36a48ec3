"""The experiment of section 6.5: a search as a cell, parts of a corpus as its seeds, the claim that reads it, bad input."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from repro.claims import declared, engine
from repro.claims.records import Records
from repro.config import ConfigError
from repro.data.traces import QUERIES, load_queries, run
from repro.validate import validate
from tests.conftest import repro
from tests.test_config import composed

PHRASE = "let us work backwards to check"
QUIET = ["+experiment=pretraining_traces", "tracking=none"]


def corpus(path: Path, hits: dict[str, int], count: int = 200) -> None:
    """``count`` documents of each type with ten sentences; ``hits`` of them, drawn at random, hold the phrase once."""
    rows = []
    chosen = {kind: set(random.Random(kind).sample(range(count), hits[kind])) for kind in hits}
    for i in range(count):
        for kind, url in (("forum", f"https://forum.example/threads/{i}"), ("other", f"https://notes.example/{i}")):
            plain = [f"The sum of the {kind} series number {i} and {k}." for k in range(9)]
            rows.append({"url": url, "text": " ".join([*plain, f"{PHRASE.capitalize()}." if i in chosen[kind] else "Nothing else."])})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_parts_are_disjoint_and_together_the_corpus(tmp_path: Path) -> None:
    corpus(tmp_path / "c.jsonl", {"forum": 40, "other": 10})
    whole = run(str(tmp_path / "c.jsonl"), QUERIES, 1, 0, 0)
    parts = [run(str(tmp_path / "c.jsonl"), QUERIES, 1, 0, part, parts=3) for part in range(3)]
    for kind in ("forum", "other"):
        for fact in ("documents", "sentences", "matches"):
            assert sum(p["rates"][kind][fact] for p in parts) == whole["rates"][kind][fact]
    assert whole["rates"]["forum"]["matches"] == 40 and whole["rates"]["other"]["matches"] == 10
    assert whole["ratio"]["ratio"] == pytest.approx(4)


def test_the_claim_reads_what_the_cells_found(tmp_path: Path) -> None:
    """Four times as often in forums: two doublings, in each of five disjoint parts; at paper scale it is a verdict, below it none."""
    corpus(tmp_path / "c.jsonl", {"forum": 200, "other": 50}, 1000)
    corpus_keys = ["traces.corpus=c.jsonl", "traces.parts=5", "traces.megabytes=null"]
    repro("-m", *QUIET, *corpus_keys, "traces.name=openwebmath", "scale=paper", cwd=tmp_path)
    repro("-m", *QUIET, *corpus_keys, "experiment_name=below", cwd=tmp_path)
    claim = declared.read(declared.FOLDER / "H6.5a.yaml")
    at_paper, below = (
        engine.evaluate([claim], Records.load([tmp_path / "outputs" / "sweeps" / name]))[0] for name in ("pretraining_traces", "below")
    )
    assert sorted(at_paper.values["corpus"]) == [0, 1, 2, 3, 4] and at_paper.seeds == 5
    found = [json.loads(p.read_text())["traces"]["ratio"]["ratio"] for p in sorted(tmp_path.glob("outputs/sweeps/pre*/*/seed=*/cell.json"))]
    assert [math.log2(ratio) for ratio in found] == list(at_paper.values["corpus"].values())
    assert at_paper.estimate.value == pytest.approx(2.0, abs=0.4) and at_paper.reasons == []
    assert at_paper.verdict.name not in ("not tested", "not reproduced", "contradicted")
    assert below.verdict.name == "not tested" and any("tests a magnitude" in reason for reason in below.reasons)


def test_a_second_run_reads_and_other_queries_search_again(tmp_path: Path) -> None:
    corpus(tmp_path / "c.jsonl", {"forum": 40, "other": 10})
    (tmp_path / "q.yaml").write_text("provenance: mine\ngroups: {own: [nothing else at all]}\n")
    line = [*QUIET, "hydra.mode=RUN", "traces.corpus=c.jsonl", "traces.name=mine"]
    first, again = (repro(*line, cwd=tmp_path) for _ in range(2))
    assert "1 built" in first.stdout and "0 built" in again.stdout
    assert [x for x in first.stderr.splitlines() if "| forum |" in x] == [x for x in again.stderr.splitlines() if "| forum |" in x] != []
    other = repro(*line, "traces.queries=q.yaml", cwd=tmp_path)
    assert "1 built" in other.stdout and load_queries(tmp_path / "q.yaml")["provenance"] == "mine"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sft=long"], "sft.name='long' is not possible: a search of a corpus trains nothing"),
        (["rl=ppo"], "rl.name='ppo' is not possible"),
        (["traces.megabytes=null"], "traces.megabytes=None"),
        (["traces.megabytes=-1"], "traces.megabytes"),
        (["traces.parts=2"], "traces.parts=2"),
        (
            ["traces.corpus=c.jsonl", "traces.parts=5", "seed=5"],
            "seed=5 is not possible: it names a part of the corpus, 0..traces.parts-1 (4)",
        ),
    ],
)
def test_bad_settings_are_one_line(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(composed("+experiment=pretraining_traces", *overrides))
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        (None, [], "corpus 'c.jsonl': no .jsonl"),
        ("", [], "is empty"),
        ('{"body": "x"}', [], "no text column 'text'; it has body"),
        ('{"text": "x"}', ["traces.queries=none.yaml"], "cannot be read"),
    ],
)
def test_an_unusable_corpus_is_one_line(content, more: list[str], words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "c.jsonl").write_text(content)
    done = repro(*QUIET, "hydra.mode=RUN", "traces.corpus=c.jsonl", *more, cwd=tmp_path, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
