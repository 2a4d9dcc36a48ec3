"""Memory against the ZeRO paper's figure, known KV caches, and what autograd really keeps."""

from __future__ import annotations

import pytest

from repro.config import ConfigError
from repro.models import adapter
from repro.plan import memory
from repro.plan.cells import expand
from repro.plan.flops import SHAPES, Shape
from repro.plan.gpus import Assumptions, cost
from repro.plan.workload import Lengths, of_stage

LLAMA = SHAPES["Llama-3.1-8B"]


def test_kv_cache():
    assert memory.kv_cache(LLAMA, 16384) == 2 * memory.GIB
    assert memory.kv_cache(SHAPES["Qwen2.5-7B"], 1) == 56 * 1024  # 28 layers x 4 heads x 128 x keys and values x 2 bytes
    assert memory.kv_cache(LLAMA, 100, bytes_each=4) == 2 * memory.kv_cache(LLAMA, 100)


def test_zero_paper_figure_1():
    """7.5B parameters on 64 GPUs: 120 GB, with gradients and optimizer spread 16.6 GB, with weights spread 1.9 GB."""

    def total(sharding: str) -> float:
        found = memory.states(7.5e9, sharding, 64)
        return sum(value for name, value in found.items() if name != "working copies") / 1e9

    assert total("ddp") == pytest.approx(120)
    assert total("zero2") == pytest.approx(16.6, abs=0.05)
    assert total("zero3") == total("fsdp") == pytest.approx(1.9, abs=0.05)


@pytest.mark.parametrize("sharding", ["zero2", "zero3", "fsdp"])
def test_more_gpus_need_less_each(sharding):
    sizes = [sum(memory.states(8e9, sharding, n, largest=2e8, always=1e9).values()) for n in (1, 2, 8, 64)]
    assert sizes == sorted(sizes, reverse=True)


def test_states_refuse_nonsense():
    with pytest.raises(ValueError, match="zero9"):
        memory.states(1e9, "zero9", 8)
    with pytest.raises(ValueError, match="0 GPUs"):
        memory.states(1e9, "ddp", 0)


def kept_by_a_layer(shape: Shape, half: bool, settings: dict | None = None) -> float:
    """Bytes a token that a layer of a real model saves for its backward pass; with an adapter if there are ``settings`` of one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def kept(layers: int, tokens: int) -> int:
        torch.manual_seed(0)
        sizes = {"hidden_size": shape.hidden, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=layers, intermediate_size=shape.intermediate, **sizes)).model
        if settings:
            adapter.attach(model, settings)
            model.embed_tokens.weight.requires_grad_()  # so that all layers are alike
        found = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor stays alive, so that its address is not used again
            return tensor

        ids = torch.zeros(1, tokens, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), torch.autocast("cpu", torch.bfloat16, enabled=half):
            held = model(ids, use_cache=False)
        assert held is not None
        return sum(size for size, _ in found.values())

    # Differences leave weights and their copies, and what does not belong to a layer, out.
    return ((kept(3, 64) - kept(2, 64)) - (kept(3, 32) - kept(2, 32))) / 32


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("hidden", "intermediate", "heads", "kv_heads"), [(64, 176, 4, 4), (64, 352, 8, 2)])
def test_activations_are_what_autograd_keeps(half, hidden, intermediate, heads, kv_heads):
    shape = Shape(hidden, 3, heads, kv_heads, intermediate, 32, False, False)
    assert memory.layer_activations(shape, half=half) == pytest.approx(kept_by_a_layer(shape, half), rel=0.01)
    for rank in (4, 32):
        settings = {"rank": rank, "alpha": 8, "target_modules": adapter.ALL, "base_dtype": "float32"}
        found = memory.adapter_of(shape, settings)
        wanted = memory.activations(shape, 1, checkpointing=False, half=half, logits=0, adapter=found) / shape.layers
        assert 0.85 < kept_by_a_layer(shape, half, settings) / wanted <= 1


@pytest.mark.parametrize("targets", [adapter.ALL, ["q_proj", "self_attn.v_proj"], ["down_proj"]])
def test_an_adapter_has_the_librarys_number_of_parameters(targets):
    from repro.models.load import build_micro
    from repro.plan.flops import shape_of

    micro = {"architecture": "qwen2", "hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate_size": 48, "context": 64}
    settings = {"rank": 3, "alpha": 8, "target_modules": targets, "base_dtype": "float32"}
    model = adapter.attach(build_micro(micro).model, settings)
    trained = adapter.sizes(model)["trained"]
    assert memory.adapter_of(shape_of({"path": None, "micro": micro}), settings).parameters == trained > 0


def test_an_adapter_of_layers_that_are_not_there():
    with pytest.raises(ConfigError, match="no linear layer 'c_attn'"):
        memory.adapter_of(LLAMA, {"rank": 3, "target_modules": ["c_attn"], "base_dtype": "float32"})


def test_an_8b_cell_of_ppo_fits_one_card_with_an_adapter_only():
    found = {}
    for name, line in {"all": [], "float32": ["peft=lora"], "bfloat16": ["peft=lora", "peft.base_dtype=bfloat16"]}.items():
        (cell,) = expand(["scale=paper", "rl=ppo", "launch=single", *line]).cells
        (stage,) = (stage for stage in cell.stages if stage.kind == "rl")
        found[name] = cost(cell.config, stage, of_stage(cell.config, stage, Lengths()), LLAMA, Assumptions("h100", gpus=1))
    whole, single, half = found["all"], found["float32"], found["bfloat16"]
    assert not whole.fits and single.fits and half.fits
    assert "reference" in whole.memory and "reference" not in half.memory
    adapted = memory.adapter_of(LLAMA, cell.config["peft"]).parameters
    assert single.memory["weights"] - half.memory["weights"] == 2 * LLAMA.parameters
    assert half.memory["optimizer"] == 8 * adapted and half.memory["critic"] < 20 * adapted
    assert half.together > single.together > 0
    assert half.parts["training"] < whole.parts["training"]


def test_checkpointing_saves_memory():
    full, less = (memory.activations(LLAMA, 16384, checkpointing=c, logits=0) for c in (False, True))
    assert full / less > 10
    assert memory.activations(LLAMA, 1, checkpointing=True) - memory.activations(LLAMA, 1, checkpointing=True, logits=0) == 128256 * 10


def test_training_parts():
    plain = memory.training(LLAMA, "zero3", 64, tokens=1000)
    full = memory.training(LLAMA, "zero3", 64, tokens=1000, critic=True, reference=True)
    assert set(full) - set(plain) == {"critic", "reference"}
    assert full["reference"] == pytest.approx(2 * LLAMA.parameters / 64)
    assert all(full[part] == plain[part] for part in plain)


def test_sequences_side_by_side():
    assert memory.concurrent(LLAMA, 20 * memory.GIB, 16384, 64) == 10
    assert memory.concurrent(LLAMA, 20 * memory.GIB, 16384, 4) == 4
    assert memory.concurrent(LLAMA, memory.GIB, 16384, 64) == 0
    assert memory.concurrent(LLAMA, -1.0, 16384, 64) == 0
