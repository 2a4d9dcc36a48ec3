"""Checkpoints that training cannot use are refused before the first rollout, by what they lack."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from repro.config import ConfigError
from repro.data.chains import STYLES, chain
from repro.data.world import problems
from repro.models.base import HERE
from repro.models.load import encode_chat, load_model, load_tokenizer
from repro.models.tokenizer import build_tokenizer
from tests.conftest import ROOT

BASE = ROOT / "repro" / "models" / "base" / "llama" / "model"


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["eos_token", "pad_token"])
def test_a_tokenizer_without_eos_or_pad(name: str, copy) -> None:
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings[name] = None
    path.write_text(json.dumps(settings))
    special = copy / "special_tokens_map.json"
    if special.exists():
        special.write_text(json.dumps({k: v for k, v in json.loads(special.read_text()).items() if k != name}))
    with pytest.raises(ConfigError, match=f"its tokenizer has no {name}"):
        load_tokenizer(copy)


def test_a_tokenizer_without_chat_template(copy) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="chat_template"):
        load_tokenizer(copy)


def test_a_sound_checkpoint_has_no_generation_settings_of_its_own(copy) -> None:
    path = copy / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repetition_penalty": 3.0, "top_k": 3}))
    found = load_model(copy).generation_config
    assert found.repetition_penalty in (None, 1.0) and found.top_k in (None, 0, 50) and found.eos_token_id is not None


@pytest.mark.parametrize("path", sorted(HERE.glob("*/model")), ids=lambda path: path.parent.name)
def test_a_shipped_tokenizer_reads_the_world_as_pretraining_did(path: Path, tmp_path: Path) -> None:
    """transformers 5 would take Qwen2's own tokenizer for a Qwen2 model, whatever class the checkpoint's files name. Plain ``AutoTokenizer``
    is what other programs load it with, here and where a training stage saved it again."""
    made, problem = build_tokenizer(), problems("train", 1)[0]
    again = Path(shutil.copytree(path, tmp_path / "again"))
    (again / "tokenizer_config.json").unlink()
    load_tokenizer(path).save_pretrained(again)
    chat = [{"role": "user", "content": problem.prompt()}]
    for tokenizer in (
        load_tokenizer(path),
        load_tokenizer(again),
        AutoTokenizer.from_pretrained(path),
        AutoTokenizer.from_pretrained(again),
    ):
        for text in (problem.prompt(), *(chain(problem, style, random.Random(0)) for style in STYLES)):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert ids == made(text, add_special_tokens=False)["input_ids"] and len(ids) == len(text.split())
            assert tokenizer.decode(ids) == text
        assert tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) == encode_chat(made, problem.prompt())
        assert (tokenizer.eos_token, tokenizer.pad_token) == (made.eos_token, made.pad_token)
