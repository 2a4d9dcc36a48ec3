"""Benchmarks from the hub: pinned commits, all configurations, one line where it cannot be had. The hub itself is played by functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals import hub
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
    pin = hub.PINNED["openai/gsm8k"]
    questions = BENCHMARKS["gsm8k"].questions(None, "hub")
    assert asked == [("openai/gsm8k", "main", "test", pin)] and [q.gold for q in questions] == ["0", "1"]
    assert BENCHMARKS["gsm8k"].contents("hub") == f"openai/gsm8k@{pin}"
    monkeypatch.setenv("REPRO_DATA_DIR", "hub")
    monkeypatch.setattr(hub, "PINNED", {"EleutherAI/hendrycks_math": "c" * 40})
    hub.commit.cache_clear()
    assert len(BENCHMARKS["math"].questions()) == 14 and len({call[1] for call in asked[1:]}) == 7


def test_a_set_without_a_pinned_commit_is_read_at_the_head_that_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Hub:
        def dataset_info(self, name: str):
            return type("Facts", (), {"sha": "d" * 40})

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr("repro.models.load.reach_hub", lambda: None)
    hub.commit.cache_clear()
    assert FILES["gpqa_main"].contents("hub") == "Idavidrein/gpqa@" + "d" * 40


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
    hub.commit.cache_clear()
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
