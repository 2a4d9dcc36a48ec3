"""The native sampler against the library's own forward pass: the same distribution, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from repro.models.generate import generate
from repro.models.sampler import choose, sample, supported, uniforms


def tiny(architecture: str, kv_heads: int = 2, scaling: dict | None = None):
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "intermediate_size": 48,
        "max_position_embeddings": 256,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    if scaling:
        shape["rope_parameters"] = scaling
    config, kind = (LlamaConfig, LlamaForCausalLM) if architecture == "llama" else (Qwen2Config, Qwen2ForCausalLM)
    model = kind(config(**shape))
    for parameter in model.parameters():  # far from uniform, and with biases that are not zero
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.5)
    return model.eval()


PROMPTS = [[5, 6, 7], [9], [3, 4, 5, 6, 7, 8, 9, 10], [12, 13], [20, 21, 22, 23, 24]] * 3
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    ("architecture", "kv_heads", "scaling"), [("llama", 4, None), ("llama", 2, None), ("qwen2", 2, None), ("llama", 1, LLAMA3)]
)
def test_log_probabilities_are_those_of_a_plain_forward_pass(architecture, kv_heads, scaling, static) -> None:
    model = tiny(architecture, kv_heads, scaling)
    assert supported(model)
    noise = uniforms([str(i) for i in range(15)], 30)
    ids, logprobs = sample(model, PROMPTS, noise, stops=[1], max_tokens=30, temperature=0.8, static=static)
    assert len({len(c) for c in ids}) > 3, "rows end at different steps, so the batch was compacted"
    for prompt, completion, found in zip(PROMPTS, ids, logprobs, strict=True):
        assert 1 not in completion[:-1] and len(completion) <= 30
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, -1)[torch.arange(len(completion)), torch.tensor(completion)]
        assert torch.allclose(torch.tensor(found), expected, atol=1e-4)


def test_a_sample_depends_on_its_key_alone() -> None:
    model = tiny("llama")
    keys = [f"seed/{i}" for i in range(15)]
    together, _ = sample(model, PROMPTS, uniforms(keys, 20), stops=[1], max_tokens=20)
    for i in (0, 7, 14):
        alone, _ = sample(model, [PROMPTS[i]], uniforms([keys[i]], 20), stops=[1], max_tokens=20)
        assert alone[0] == together[i]
    shorter, _ = sample(model, PROMPTS, uniforms(keys, 20)[:, :5], stops=[1], max_tokens=5)
    assert [c[:5] for c in together] == shorter


def test_frequencies_are_the_probabilities() -> None:
    """40,000 draws: every token within five standard errors of its probability; with top-p only the nucleus, in proportion."""
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3)) * 1.5
    u = uniforms(["frequencies"], 40_000)[0]
    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.7)):
        p = torch.softmax(logits / temperature, -1).double()
        order = p.argsort(descending=True)
        inside = order[: int((p[order].cumsum(0) < top_p).sum()) + 1] if top_p < 1 else order
        expected = torch.zeros(12, dtype=torch.float64)
        expected[inside] = p[inside] / p[inside].sum()
        tokens, logprobs = choose(logits.expand(40_000, -1), u, temperature, top_p)
        seen = torch.bincount(tokens, minlength=12).double() / 40_000
        error = (expected * (1 - expected) / 40_000).sqrt()
        assert ((seen - expected).abs() <= 5 * error + 1e-12).all()
        assert torch.allclose(logprobs.double(), p[tokens].log(), atol=1e-5)  # before top-p


def test_the_ends_of_the_unit_interval_give_possible_tokens() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]]).repeat(3, 1)
    tokens, _ = choose(logits, torch.tensor([0.0, 1 - 2**-53, 0.5], dtype=torch.float64), 1.0, 1.0)
    assert tokens.tolist() == [1, 3, 3]


def test_greedy_equals_the_librarys_generate() -> None:
    for architecture in ("llama", "qwen2"):
        model = tiny(architecture)
        ids, _ = sample(model, PROMPTS[:5], uniforms(["x"] * 5, 12), stops=[1], max_tokens=12, temperature=0.0)
        for prompt, completion in zip(PROMPTS[:5], ids, strict=True):
            out = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=1)
            assert out[0, len(prompt) :].tolist() == completion


def test_bad_input() -> None:
    model = tiny("llama")
    with pytest.raises(ValueError, match="noise has shape"):
        sample(model, PROMPTS, uniforms(["x"], 4), stops=[1], max_tokens=4)
    with pytest.raises(ValueError, match="empty prompt"):
        sample(model, [[]], uniforms(["x"], 4), stops=[1], max_tokens=4)
    assert sample(model, [], uniforms([], 4), stops=[1], max_tokens=4) == ([], [])


def test_generate_falls_back_for_other_architectures() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    class Tokenizer:
        eos_token_id, pad_token_id = 1, 0

    torch.manual_seed(0)
    other = GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=64, eos_token_id=1, bos_token_id=1)
    ).eval()
    assert not supported(other)
    for name in ("attention_bias", "mlp_bias"):  # which its joined weights leave out
        biased = tiny("llama")
        setattr(biased.config, name, True)
        assert not supported(biased)
    for model in (other, tiny("llama")):
        arguments = {"max_tokens": 6, "temperature": 1.0, "top_p": 1.0, "batch_size": 4}
        ids = generate(model, Tokenizer, PROMPTS, keys=[str(i) for i in range(15)], **arguments)
        assert len(ids) == 15 and all(1 <= len(c) <= 6 for c in ids)
        assert ids == generate(model, Tokenizer, PROMPTS, keys=[str(i) for i in range(15)], **arguments)
