"""Mixtures: shares in every prefix, resuming from the state, streaming, and what is refused; the web set's filter and its erring teacher."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config import ConfigError
from repro.data.mixture import Mixture, listed

NAMES = ("a", "b", "c")


def endless(name: str):
    return lambda start: ((name, i) for i in itertools.count(start))


SOURCES = {name: endless(name) for name in NAMES}
WEIGHTS = st.lists(st.integers(1, 20), min_size=3, max_size=3).map(lambda w: {n: x / sum(w) for n, x in zip(NAMES, w, strict=True)})


@given(WEIGHTS, st.integers(1, 200))
def test_every_prefix_has_the_shares(weights: dict[str, float], count: int) -> None:
    drawn = [name for name, _ in itertools.islice(Mixture(SOURCES, weights), count)]
    for name, weight in weights.items():
        assert abs(drawn.count(name) - weight * count) <= len(NAMES)


@given(WEIGHTS, st.integers(0, 60), st.integers(1, 60), st.booleans())
def test_a_mixture_goes_on_where_its_state_was(weights: dict[str, float], first: int, then: int, tokens: bool) -> None:
    size = (lambda item: item[1] % 7) if tokens else None
    whole = list(itertools.islice(Mixture(SOURCES, weights, size), first + then))
    before = Mixture(SOURCES, weights, size)
    assert list(itertools.islice(before, first)) == whole[:first]
    after = Mixture(SOURCES, weights, size, state=json.loads(json.dumps(before.state())))
    assert list(itertools.islice(after, then)) == whole[first:]


def test_shares_by_tokens() -> None:
    lengths = {"a": 10, "b": 1, "c": 3}
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    mixture = Mixture(SOURCES, weights, size=lambda item: lengths[item[0]])
    total = dict.fromkeys(NAMES, 0)
    for name, _ in itertools.islice(mixture, 3000):
        total[name] += lengths[name]
    for name, weight in weights.items():
        assert abs(total[name] / sum(total.values()) - weight) < 0.01


def test_an_exhausted_source_ends_the_mixture() -> None:
    items = list(Mixture({"a": listed([1, 2]), "b": endless("b")}, {"a": 0.5, "b": 0.5}))
    assert len(items) == 4


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 0.5, "b": 0.4}, "sum to 0.9"),
        ({"a": 0.5, "nowhere": 0.5}, "'nowhere', which does not exist"),
        ({"a": 1.5, "b": -0.5}, "b=-0.5"),
        ({"a": float("nan")}, "a=nan"),
        ({}, "is empty"),
    ],
)
def test_refused_weights(weights: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Mixture(SOURCES, weights)


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="source 'b' is empty"):
        list(itertools.islice(Mixture({"a": endless("a"), "b": listed([])}, {"a": 0.5, "b": 0.5}), 5))


DATA = {"split": "mixture", "mixture": {"train": 0.5, "web": 0.5}, "mixture_by": "samples", "train_size": 200, "seed": 0, "file": None}


def test_micro_mixture_and_what_rl_takes() -> None:
    from repro.data.web import rl_data, train_items

    found = train_items({**DATA, "rl": None})
    assert [split for split, _ in found].count("train") == 100 and len(found) == 200
    rl = train_items(rl_data({**DATA, "rl": {"split": "train", "file": None, "train_size": 30}}))
    assert {split for split, _ in rl} == {"train"} and len(rl) == 30


def test_filter_keeps_what_the_teacher_agrees_with() -> None:
    from repro.data.web import RESPONSES, TEACHER_ACCURACY, agreeing, filter_quality, source_items

    kept = source_items("web_filtered", 300, 0)
    assert all(agreeing(item, 0) for item in kept) and not any(item.noise == "prose" for item in kept)
    quality = filter_quality(4000, 1)
    assert abs(quality["recall"] - (1 - (1 - TEACHER_ACCURACY) ** RESPONSES)) < 0.03
    assert 0.85 < quality["precision"] < 1  # a teacher that errs lets some wrong references through


@pytest.mark.parametrize("style", ["long", "short", "constructed"])
def test_web_responses_box_what_the_teacher_said(style: str) -> None:
    from repro.data.web import agreeing, response, source_items, teacher_answer

    items = source_items("web", 300, 0)
    boxed = [response(item, "web", style, 0, 0).split()[-2] for item in items]
    assert boxed == [teacher_answer(item.problem, 0, 0) for item in items]
    assert any(b != item.problem.answer for b, item in zip(boxed, items, strict=True))
    for item in source_items("web_filtered", 300, 0):
        assert response(item, "web_filtered", style, 0, 0).split()[-2] == agreeing(item, 0)[0] == item.reference


def test_sft_mixes_by_tokens() -> None:
    from repro.models.base import HERE
    from repro.models.load import load_tokenizer
    from repro.sft import examples

    tokenizer = load_tokenizer(HERE / "llama" / "model")
    columns, _ = examples({**DATA, "mixture_by": "tokens", "train_size": 64, "rl": None}, "long", 1, tokenizer, 400)
    assert len(columns["input_ids"]) == 64
    by_samples, _ = examples({**DATA, "train_size": 64, "rl": None}, "long", 1, tokenizer, 400)
    assert columns != by_samples


def sets_of(folder: Path) -> None:
    """Sets of three shapes: ours, responses in a list, conversations."""
    lines = {
        "math.jsonl": [{"prompt": f"m{i}", "response": "a b c d"} for i in range(40)],
        "web.jsonl": [{"problem": f"w{i}", "answer": "1", "responses": ["e", "f g"]} for i in range(30)],
        "chat.jsonl": [{"messages": [{"role": "user", "content": f"c{i}"}, {"role": "assistant", "content": "h"}]} for i in range(5)],
    }
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def mix(*arguments: str) -> int:
    from repro.data.mixture import main

    return main(arguments)


def test_sets_are_mixed_into_one_that_sft_reads(tmp_path: Path, monkeypatch, capsys) -> None:
    from repro.data.sets import pairs

    monkeypatch.chdir(tmp_path)
    sets_of(tmp_path)
    assert mix("math.jsonl=0.25", "web.jsonl=0.5", "chat.jsonl=0.25", "out=mixed.parquet") == 0
    rows = pq.read_table("mixed.parquet").to_pylist()
    assert [r["source"] for r in rows].count("web.jsonl") == 11 and len(rows) == 22  # where a sixth conversation is due
    found = list(pairs("mixed.parquet"))
    assert [p.response for p in found if str(p.prompt).startswith("w")] == ["e", "f g"] * 5 + ["e"] and {type(p.prompt) for p in found} == {
        str
    }
    facts = json.loads(pq.read_metadata("mixed.parquet").metadata[b"provenance"])
    assert facts["positions"] == {"math.jsonl": 6, "web.jsonl": 11, "chat.jsonl": 5} and facts["by"] == "samples"
    first = Path("mixed.parquet").read_bytes()
    assert (
        mix("math.jsonl=0.25", "web.jsonl=0.5", "chat.jsonl=0.25", "out=mixed.parquet") == 0 and Path("mixed.parquet").read_bytes() == first
    )
    assert "11 of web.jsonl" in capsys.readouterr().out
    assert mix("math.jsonl=0.5", "web.jsonl=0.5", "out=few.parquet", "size=7") == 0 and pq.read_metadata("few.parquet").num_rows == 7


def test_sets_are_mixed_by_tokens(tmp_path: Path, monkeypatch) -> None:
    from repro.models.base import HERE

    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.jsonl").write_text("".join(json.dumps({"prompt": f"l{i}", "response": "1 2 3 4 5 6"}) + "\n" for i in range(30)))
    (tmp_path / "short.jsonl").write_text("".join(json.dumps({"prompt": f"s{i}", "response": "1 2"}) + "\n" for i in range(30)))
    assert mix("long.jsonl=0.5", "short.jsonl=0.5", "out=m.parquet", "by=tokens", f"tokenizer={HERE / 'llama' / 'model'}") == 0
    sources = pq.read_table("m.parquet")["source"].to_pylist()
    assert (sources.count("long.jsonl"), sources.count("short.jsonl")) == (11, 30)  # the next is a short one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["math.jsonl=0.5", "web.jsonl=0.4", "out=x.parquet"], "sum to 0.9"),
        (["math.jsonl=0.5", "nowhere.jsonl=0.5", "out=x.parquet"], "nowhere.jsonl': no such file"),
        (["math.jsonl=0.5", "math.jsonl=0.5", "out=x.parquet"], "give every set once"),
        (["math.jsonl=half", "web.jsonl=0.5", "out=x.parquet"], "math.jsonl=half: a number from 0 to 1"),
        (["math.jsonl=0.5", "web.jsonl=0.5"], "out is needed"),
        (["out=x.parquet"], "is empty"),
        (["math.jsonl=0.5", "web.jsonl=0.5", "out=x.parquet", "by=tokens"], "tokenizer with by=tokens"),
        (["math.jsonl=0.5", "web.jsonl=0.5", "out=x.parquet", "size=-1"], "size=-1"),
        (["math.jsonl=0.5", "bad.jsonl=0.5", "out=x.parquet"], "'bad.jsonl', row 1: no text column"),
        (["math.jsonl=0.5", "web.jsonl=0.5", "out=nowhere/x.parquet"], "nowhere"),
    ],
)
def test_sets_that_cannot_be_mixed_are_one_line(arguments: list[str], words: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    sets_of(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"text": "x"}\n')
    assert mix(*arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.jsonl", "chat.jsonl", "math.jsonl", "web.jsonl"]
