"""Cells with LoRA: keys, names, refusals before work, a whole chain from SFT to RL."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from repro import interrupt, sft
from repro.claims.group import Group
from repro.claims.records import _undeclared
from repro.config import ConfigError, plain
from repro.identity import arm_key
from repro.models import adapter
from repro.pipeline import Cell
from repro.tracking import arm_name
from repro.validate import validate
from tests.conftest import SHRINK, repro
from tests.rl.small import make_start
from tests.test_config import composed


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return make_start(tmp_path / "start")


def resolved(*overrides: str) -> dict:
    return plain(composed(*overrides))


def test_keys_without_an_adapter_are_what_they_were_and_others_differ() -> None:
    cell = resolved("sft=long", "rl=ppo")
    before = {key: value for key, value in cell.items() if key != "peft"}  # as cells were recorded before there were adapters
    assert arm_key(cell) == arm_key(before) and arm_key(cell, "sft") == arm_key(before, "sft")
    both, rl, sft, wide, dropout = (
        resolved("sft=long", "rl=ppo", "peft=lora", *more)
        for more in ([], ["peft.stages=[rl]"], ["peft.stages=[sft]"], ["peft.rank=8"], ["peft.dropout=0.1"])
    )
    assert len({arm_key(config) for config in (cell, both, rl, sft, wide, dropout)}) == 6
    assert arm_key(rl, "sft") == arm_key(cell, "sft") != arm_key(both, "sft") == arm_key(sft, "sft")
    assert {arm_key(config, "base") for config in (cell, both, rl, sft, wide)} == {arm_key(cell, "base")}
    alone = [resolved("rl=ppo", "peft=lora", *more) for more in ([], ["peft.stages=[rl]"], ["peft.dropout=0.1"])]
    assert len({arm_key(config) for config in alone}) == 1  # RL reads no dropout, and nothing else is trained


def test_names_say_where_an_adapter_is() -> None:
    assert "lora" not in arm_name(resolved("sft=long"))
    assert arm_name(resolved("sft=long", "rl=ppo", "peft=lora")) == "llama+sft-long+ppo+classic+lora"
    assert arm_name(resolved("sft=long", "rl=ppo", "peft=lora", "peft.stages=[rl]")) == "llama+sft-long+ppo+classic+lora-rl"
    assert arm_name(resolved("rl=ppo", "peft=lora")) == "llama+ppo+classic+lora"


def test_arms_with_and_without_an_adapter_are_not_compared() -> None:
    full, lora = resolved("rl=ppo"), resolved("rl=ppo", "peft=lora")
    old = {key: value for key, value in full.items() if key != "peft"}

    def differing(one: dict, two: dict) -> str | None:
        groups = {name: Group("micro", "rl", "", config=config) for name, config in (("a", one), ("b", two))}
        return _undeclared(groups, {"a": ({}, "rl"), "b": ({}, "rl")})

    assert differing(full, old) is None and differing(lora, lora) is None
    assert "peft." in differing(full, lora) and "peft." in differing(old, lora)


@pytest.fixture
def bloom(tmp_path: Path) -> Path:
    """A checkpoint's configuration, of an architecture with other layers than Llama's."""
    from transformers import BloomConfig

    BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2).save_pretrained(tmp_path / "bloom")
    return tmp_path / "bloom"


@pytest.mark.parametrize("name", ["q_proj", "lm_head", "value"])
def test_a_checkpoint_without_the_layers_is_one_line(name: str, bloom: Path) -> None:
    """The output embedding is no layer to adapt, and the end of a name is no name."""
    with pytest.raises(ConfigError) as caught:
        adapter.check(bloom, ["dense", name])
    assert f"'{name}'" in str(caught.value) and "query_key_value" in str(caught.value) and "\n" not in str(caught.value)
    adapter.check(bloom, ["query_key_value", "self_attention.dense"])
    adapter.check(bloom, adapter.ALL)


def test_it_is_refused_before_any_work(bloom: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    config = composed("peft=lora", "peft.target_modules=[q_proj]", f"model.path={bloom}", f"paths.store={store}", *SHRINK)
    validate(config)
    with pytest.raises(ConfigError, match=r"peft\.target_modules: the model has no linear layer 'q_proj'"):
        Cell(config).run()
    assert not list(store.rglob("manifest.json"))


def test_a_chain_of_adapters(tmp_path: Path) -> None:
    """SFT's is merged before RL starts a fresh one; both are evaluated like any model."""
    line = ["sft=long", "rl=ppo", "peft=lora", "peft.rank=4", "rl.eval_steps=2", "sft.learning_rate=1e-2", "rl.learning_rate=1e-2"]
    repro(*line, *SHRINK, cwd=tmp_path)
    (cell,) = tmp_path.rglob("cell.json")
    facts = json.loads(cell.read_text())
    assert "+lora" in facts["arm"] and facts["config"]["peft"]["rank"] == 4
    assert [(e["stage"], e["step"]) for e in facts["evaluations"]] == [("base", 0), ("sft", 0), ("rl", 2), ("rl", 4)]
    assert "lora" in str(pq.read_table(cell.with_name("records.parquet"))["arm"][0])
    store = Path(facts["store"])
    places = {stage["stage"]: store / stage["path"] for stage in facts["stages"] if stage["stage"] in ("pretrain", "sft", "rl")}
    models = [load_file(places[name] / "model" / "model.safetensors") for name in ("pretrain", "sft", "rl")]
    assert models[0].keys() == models[1].keys() == models[2].keys()
    for name in ("sft", "rl"):
        manifest = json.loads((places[name] / "manifest.json").read_text())
        found = load_file(places[name] / "adapter" / "adapter_model.safetensors")
        assert manifest["parameters"]["trained"] == sum(value.numel() for value in found.values()) > 0
        assert manifest["config"]["peft"]["rank"] == 4 and "stages" not in manifest["config"]["peft"]
    # SFT's adapter on the base is SFT's model, RL's on that is RL's.
    for name, before, after in (("sft", *models[:2]), ("rl", *models[1:])):
        found = load_file(places[name] / "adapter" / "adapter_model.safetensors")
        for key in (key for key in found if "lora_A" in key):
            product = found[key.replace("lora_A", "lora_B")] @ found[key] * (32 / 4)
            layer = key.removeprefix("base_model.model.").replace(".lora_A", "")
            assert product.abs().max() > 0
            torch.testing.assert_close(after[layer], before[layer] + product, atol=1e-6, rtol=1e-6)
    kept = load_file(places["rl"] / "policies" / "step-000002" / "model.safetensors")
    assert kept.keys() == models[0].keys()


def test_sft_goes_on_to_the_same_bits(start: Path, tmp_path: Path, monkeypatch) -> None:
    """With dropout, of which the random numbers are in the checkpoint."""
    config = resolved("sft=long", "rl=none", "peft=lora", "peft.dropout=0.2", "sft.epochs=2", *SHRINK, "sft.save_steps=1")
    for name in ("calm", "stopped"):
        (tmp_path / name).mkdir()
    facts = sft.build(config, start, tmp_path / "calm", "test")
    with monkeypatch.context() as patch, pytest.raises(interrupt.Interrupted):
        patch.setattr(interrupt, "_wanted", True)
        sft.build(config, start, tmp_path / "stopped", "test")
    sft.build(config, start, tmp_path / "stopped", "test")
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        one, two = (load_file(tmp_path / run / name) for run in ("calm", "stopped"))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert facts["steps"] == 8 and facts["parameters"]["trained"] < facts["parameters"]["all"]
