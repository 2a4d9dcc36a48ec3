"""Sequences longer than a checkpoint's positions are refused before any work, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro import sft
from repro.config import ConfigError, plain
from repro.data.teacher import EngineTeacher
from repro.models.load import encode_chat, load_tokenizer
from repro.models.positions import longest_prompt, positions_of, refuse_longer
from tests.conftest import ROOT, SHRINK
from tests.rl.small import make_start, train
from tests.test_config import composed

MODEL = ROOT / "repro" / "models" / "base" / "llama" / "model"


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """A checkpoint of 20 positions."""
    folder = make_start(tmp_path_factory.mktemp("short"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 20}))
    return folder


def line_of(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert "\n" not in text and "20 positions" in text
    return text


def test_rl_is_refused_before_the_first_rollout(short, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"rl\.max_completion_length=24 .*at most \d+") as error:
        train(short, tmp_path / "work", "rl=ppo")
    most = int(line_of(error).split("at most ")[1].split(",")[0])
    assert not list((tmp_path / "work").rglob("metrics.jsonl"))
    train(short, tmp_path / "work", "rl=ppo", f"rl.max_completion_length={most}")  # the remedy works
    with pytest.raises(ConfigError):
        train(short, tmp_path / "again", "rl=ppo", f"rl.max_completion_length={most + 1}")


def test_sft_is_refused_before_the_first_step(short, tmp_path) -> None:
    config = plain(composed(*SHRINK, "sft=long", "sft.max_length=200"))
    with pytest.raises(ConfigError, match=r"sft\.max_length=200.*at most 20") as error:
        sft.build(config, short, tmp_path, "test")
    line_of(error)
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_a_teacher_is_refused_before_the_first_completion(short, monkeypatch) -> None:
    teacher = EngineTeacher(short)
    monkeypatch.setattr(teacher.engine, "complete", lambda *_, **__: pytest.fail("sampled"))
    sampling = {"temperature": 1.0, "top_p": 1.0, "seed": 0}
    with pytest.raises(ConfigError, match=r"max_tokens=30 after a prompt of \d+") as error:
        list(teacher.generate(["5 6", "5 6 7 8"], max_tokens=30, **sampling))
    line_of(error)


def test_what_fits_or_is_not_known_is_not_refused(short, tmp_path) -> None:
    refuse_longer(short, 20, "x", "y")
    with pytest.raises(ConfigError, match=r"x: 21 tokens, but .* has 20 positions; use 20"):
        refuse_longer(short, 21, "x", "use {positions}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    assert positions_of(tmp_path) is None
    refuse_longer(tmp_path, 10**9, "x", "y")


words = st.lists(st.sampled_from(["5", "6", "wait", "so", "x"]), min_size=1, max_size=30)


@given(st.lists(words, min_size=1, max_size=8), st.integers(1, 60))
def test_the_longest_prompt_is_right_where_it_matters(prompts, room: int) -> None:
    """Where some prompt exceeds the room, its length is exact; else the answer is within the room."""
    tokenizer = load_tokenizer(MODEL)
    texts = [" ".join(prompt) for prompt in prompts]
    exact = max(len(encode_chat(tokenizer, text)) for text in texts)
    found = longest_prompt(tokenizer, [[{"role": "user", "content": t}] for t in texts], room)
    assert found == exact if exact > room else found <= room
