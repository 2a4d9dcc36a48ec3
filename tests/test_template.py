"""Chat templates and padding tokens for checkpoints that have none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from repro.config import ConfigError
from repro.models.load import encode_chat, load_model, load_tokenizer
from repro.models.template import TEMPLATES, main, prepare
from tests.conftest import ROOT

BASE = ROOT / "repro" / "models" / "base" / "llama" / "model"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The shipped base as a hub base model often is: no chat template, no padding token."""
    folder = tmp_path / "bare"
    shutil.copytree(BASE, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    path = folder / "tokenizer_config.json"
    facts = json.loads(path.read_text())
    facts.pop("pad_token", None)
    facts.pop("chat_template", None)
    path.write_text(json.dumps(facts))
    return folder


def test_a_base_without_template_becomes_usable(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"python -m repro\.models\.template"):
        load_tokenizer(bare)
    word = next(w for w in load_tokenizer(BASE).get_vocab() if w not in load_tokenizer(BASE).all_special_tokens)
    made = prepare(str(bare), tmp_path / "made", "plain", pad=word)
    tokenizer = load_tokenizer(made)
    assert tokenizer.pad_token == word and len(tokenizer) == len(load_tokenizer(BASE))
    assert (made / "model.safetensors").is_symlink() and load_model(made).num_parameters() == load_model(BASE).num_parameters()
    assert tokenizer.decode(encode_chat(tokenizer, "=4")).strip() == "=4"


def test_a_longer_context_changes_the_positions_only(bare: Path, tmp_path: Path) -> None:
    made = prepare(str(BASE), tmp_path / "made", rope=10, context=640)
    one, two = (json.loads((folder / "config.json").read_text()) for folder in (BASE, made))
    assert two["rope_parameters"]["rope_theta"] == 10 * one["rope_parameters"]["rope_theta"] and two["max_position_embeddings"] == 640
    assert load_tokenizer(made).chat_template == load_tokenizer(BASE).chat_template and (made / "model.safetensors").is_symlink()
    assert load_model(made).config.max_position_embeddings == 640
    old = tmp_path / "old"  # theta beside the rest, as in files from before rope_parameters
    shutil.copytree(BASE, old)
    settings = {k: v for k, v in one.items() if k != "rope_parameters"}
    (old / "config.json").write_text(json.dumps({**settings, "rope_theta": 10000.0}))
    assert json.loads((prepare(str(old), tmp_path / "from-old", rope=10) / "config.json").read_text())["rope_theta"] == 100000.0
    (old / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="has no rope_theta"):
        prepare(str(old), tmp_path / "none", rope=10)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["template=llama3"], "needs <|start_header_id|>"),
        (["template=nothing"], "neither a file nor one of"),
        (["pad=nothing"], "not in the vocabulary"),
        (["colour=red"], "unknown key colour"),
        (["rope=0"], "rope=0"),
        (["context=many"], "context=many"),
    ],
)
def test_bad_input_is_one_line(more: list[str], message: str, bare: Path, tmp_path: Path, capsys) -> None:
    assert main([str(bare), f"out={tmp_path / 'made'}", *more]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "made").exists()
    assert main([str(bare)]) == 2 and main([str(bare), f"out={bare}"]) == 2


def test_templates_render_and_end_turns_with_eos() -> None:
    tokenizer = load_tokenizer(BASE)
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    for text in TEMPLATES.values():
        whole = tokenizer.apply_chat_template(chat, tokenize=False, chat_template=text)
        asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, chat_template=text, add_generation_prompt=True)
        assert whole.rstrip().endswith(f"A{tokenizer.eos_token}") and whole.startswith(asked)
