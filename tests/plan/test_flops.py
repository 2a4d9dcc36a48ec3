"""Parameters and arithmetic against published totals, the shipped checkpoints and torch's own counter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro.config import ConfigError
from repro.plan.flops import SHAPES, Shape, from_json, named, shape_of

BASE = Path(__file__).parents[2] / "repro" / "models" / "base"
# Totals of the safetensors files, as the Hugging Face hub shows them.
PUBLISHED = {
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.2-1B": 1_235_814_400,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648,
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_the_published_totals(name):
    assert SHAPES[name].parameters == PUBLISHED[name]


def test_untied_embeddings_count_twice():
    shape = SHAPES["Qwen2.5-0.5B"]
    untied = Shape(**{**shape.__dict__, "tied": False})
    assert untied.parameters - shape.parameters == shape.vocabulary * shape.hidden
    assert round(untied.parameters / 1e6) == 630


@pytest.mark.parametrize("name", ["llama", "qwen_math"])
def test_parameters_of_the_shipped_checkpoints(name):
    from safetensors import safe_open

    shape = from_json(json.loads((BASE / name / "model" / "config.json").read_text()))
    with safe_open(BASE / name / "model" / "model.safetensors", "numpy") as file:
        assert shape.parameters == sum(file.get_tensor(key).size for key in file.keys())  # noqa: SIM118
    micro = {"architecture": "llama" if name == "llama" else "qwen2", "hidden_size": 64, "layers": 3, "heads": 4, "kv_heads": 4}
    described = shape_of({"path": None, "micro": {**micro, "intermediate_size": 176}})
    assert described.parameters == shape.parameters
    assert shape_of({"path": str(BASE / name / "model"), "micro": None}) == shape


def test_critic_parameters():
    torch = pytest.importorskip("torch")
    from repro.rl.critic import load_critic

    critic = load_critic(BASE / "llama" / "model", 0)
    shape = shape_of({"path": str(BASE / "llama" / "model"), "micro": None})
    assert shape.critic_parameters == sum(p.numel() for p in critic.parameters())
    assert torch is not None


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_operations_are_those_that_torch_counts(kv_heads):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = Shape(64, 3, 4, kv_heads, 176, 110, True, False)
    config = LlamaConfig(
        vocab_size=110,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        intermediate_size=176,
        tie_word_embeddings=True,
        attn_implementation="eager",  # computes all pairs, so every token has the whole sequence as context
    )
    model, (rows, length) = LlamaForCausalLM(config), (2, 48)
    ids = torch.randint(0, 110, (rows, length))
    with FlopCounterMode(display=False) as forward:
        logits = model(ids, use_cache=False).logits
    rotary = 2 * model.model.rotary_emb.inv_freq.numel() * rows * length  # positions x frequencies, written as a matrix product
    assert forward.get_total_flops() - shape.forward(rows * length, length) in (0, rotary, rotary / rows)
    with FlopCounterMode(display=False) as both:
        model(ids, use_cache=False).logits.sum().backward()
    assert both.get_total_flops() == pytest.approx(shape.train(rows * length, length), rel=0.001)
    assert logits.shape == (rows, length, 110)
    from peft import get_peft_model

    from repro.models import adapter

    adapted = get_peft_model(model, adapter.lora({"rank": 8, "alpha": 8, "target_modules": adapter.ALL}))
    adapted.enable_input_require_grads()  # so that the first layer is like the others
    with FlopCounterMode(display=False) as frozen:
        adapted(input_ids=ids, use_cache=False).logits.sum().backward()
    wanted = shape.train(rows * length, length, adapter=adapter.sizes(adapted)["trained"])
    assert frozen.get_total_flops() == pytest.approx(wanted, rel=0.002)


def test_rules_of_thumb():
    shape = SHAPES["Llama-3.1-8B"]
    without_lookup = shape.parameters - shape.vocabulary * shape.hidden
    assert shape.train(1, 0) == pytest.approx(6 * without_lookup, rel=0.001)  # Kaplan et al.: 6 N a token, embedding look-ups apart
    assert shape.train(1, 0, checkpointing=True) == pytest.approx(8 * without_lookup, rel=0.001)
    assert shape.sequence(1000) == pytest.approx(shape.forward(1000, 500.5))
    assert shape.forward(10, 5, logits=0) < shape.forward(10, 5, logits=1) < shape.forward(10, 5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", "Llama-3.1-8B"),
        ("Qwen/Qwen2.5-Math-7B", "Qwen2.5-7B"),
        ("Qwen/Qwen2.5-Math-1.5B", "Qwen2.5-1.5B"),
        ("Qwen/QwQ-32B-Preview", "Qwen2.5-32B"),
        ("Qwen/Qwen2.5-14B", None),
        ("mistralai/Mistral-7B-v0.1", None),
    ],
)
def test_names_of_the_hub(name, shape):
    assert named(name) == (SHAPES[shape] if shape else None)


def test_bad_shapes(tmp_path):
    with pytest.raises(ConfigError, match="its size is not known here"):
        shape_of({"path": "someone/unknown-3B", "micro": None})
    with pytest.raises(ConfigError, match="model_type='gpt2'"):
        from_json({"model_type": "gpt2"})
    with pytest.raises(ConfigError, match="has no hidden_size"):
        from_json({"model_type": "llama"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        shape_of({"path": str(tmp_path), "micro": None})
