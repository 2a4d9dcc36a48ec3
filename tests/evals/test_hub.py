"""Benchmarks from the hub: pinned commits, all configurations, one line where it cannot be had. The hub itself is played by functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evals.benchmarks import BENCHMARKS, FileBenchmark
from evals.files import BenchmarkError

FILES = {name: b for name, b in BENCHMARKS.items() if isinstance(b, FileBenchmark)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """A hub that has two rows of every configuration; what it was asked for."""
    import datasets

    calls: list[tuple] = []

    def load(name: str, config: str | None, *, split: str, revision: str):
        calls.append((name, config, split, revision))
        rows = [{"problem": f"{config} {i}", "solution": f"so \\boxed{{{i}}}", "answer": f"... #### {i}"} for i in range(2)]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("repro.models.load.reach_hub", lambda: None)
    return calls


def test_pinned_commit_and_every_configuration(asked: list[tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    pin = FILES["gsm8k"].revision
    questions = FILES["gsm8k"].questions(None, "hub")
    assert asked == [("openai/gsm8k", "main", "test", pin)] and [q.gold for q in questions] == ["0", "1"]
    assert FILES["gsm8k"].contents("hub") == f"openai/gsm8k@{pin}"
    monkeypatch.setenv("REPRO_DATA_DIR", "hub")
    assert len(FILES["math"].questions()) == 14 and len({call[1] for call in asked[1:]}) == 7


@pytest.mark.parametrize("benchmark", FILES.values(), ids=list(FILES))
def test_every_published_set_is_pinned(benchmark: FileBenchmark) -> None:
    """A name that can move is no pin: a branch, a tag or a shortened commit."""
    assert re.fullmatch("[0-9a-f]{40}", benchmark.revision) and "/" in benchmark.hub and benchmark.split in ("train", "test")


@pytest.mark.parametrize("name", ["math500", "gpqa_diamond"])
def test_no_network_is_one_line_that_says_where_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    def unreachable() -> None:
        raise OSError("no route to the hub")

    def load(*_: object, **__: object):
        raise ConnectionError("offline, and not in the cache\nmore lines")

    monkeypatch.setattr("repro.models.load.reach_hub", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(BenchmarkError) as caught:
        FILES[name].read("hub")
    text = str(caught.value)
    assert "\n" not in text and text.startswith(f"{name}: ") and FILES[name].hub in text and "it needs the columns" in text
    assert ("accept its terms" in text) == name.startswith("gpqa")


def test_contents_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "amc23.jsonl"
    file.write_text('{"question": "q", "answer": 1}\n')
    before = FILES["amc23"].contents(tmp_path)
    file.write_text('{"question": "q", "answer": 2}\n')
    assert FILES["amc23"].contents(tmp_path) != before
    with pytest.raises(BenchmarkError, match="aime2024: no file"):
        FILES["aime2024"].contents(tmp_path)
