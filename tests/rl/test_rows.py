"""Forward passes over parts of a batch: the values of a plain masked forward pass, whatever the lengths and however the batch is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from repro.rl import rows

SHAPE = {"vocab_size": 23, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def model(kind: str):
    torch.manual_seed(0)
    config, made = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[kind]
    return made(config(**SHAPE, num_key_value_heads=2, max_position_embeddings=64)).eval()


MODELS = {kind: model(kind) for kind in ("llama", "qwen2")}


def batch(lengths: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Token ids, attention mask and the columns of completions, from (prompt, completion) lengths: padding left and right, of random ids."""
    before, count = (max(pair[i] for pair in lengths) for i in (0, 1))
    ids = torch.randint(23, (len(lengths), before + count), generator=torch.Generator().manual_seed(1))
    columns = torch.arange(before + count)
    starts, ends = (torch.tensor([[before - p] for p, _ in lengths]), torch.tensor([[before + c] for _, c in lengths]))
    return ids, ((columns >= starts) & (columns < ends)).long(), count


def by_parts(policy, ids, attention, count, size) -> torch.Tensor:
    cut, found = rows.parts(ids, attention, count, size), []
    for part in cut:
        logits = policy(input_ids=part.ids, attention_mask=part.attention).logits[:, -part.kept - 1 : -1]
        found.append(logits.log_softmax(-1).gather(-1, part.ids[:, -part.kept :, None])[..., 0])
    return rows.join(cut, found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=9), st.integers(1, 9), st.sampled_from(sorted(MODELS))
)
def test_log_probabilities_are_those_of_each_row_alone(lengths, size, kind) -> None:
    if not any(c for _, c in lengths):
        lengths = [*lengths, (1, 1)]
    ids, attention, count = batch(lengths)
    with torch.no_grad():
        found = by_parts(MODELS[kind], ids, attention, count, size)
        for row, (prompt, length) in enumerate(lengths):
            alone = ids[row, attention[row].bool()][None]
            logps = MODELS[kind](input_ids=alone).logits[0, :-1].log_softmax(-1).gather(-1, alone[0, 1:, None])[:, 0]
            torch.testing.assert_close(found[row, :length], logps[prompt - 1 :], atol=1e-5, rtol=1e-5)
            assert not found[row, length:].any()


def test_gradients_are_those_of_the_plain_masked_pass() -> None:
    policy = MODELS["llama"]
    ids, attention, count = batch([(5, 7), (2, 12), (9, 1), (3, 0), (9, 12)])
    weights = torch.randn(5, count, generator=torch.Generator().manual_seed(2)) * attention[:, -count:]

    def gradient(logps: torch.Tensor) -> list[torch.Tensor]:
        policy.zero_grad()
        (logps * weights).sum().backward()
        return [parameter.grad.clone() for parameter in policy.parameters()]

    logits = policy(input_ids=ids, attention_mask=attention).logits[:, -count - 1 : -1]
    plain = gradient(logits.log_softmax(-1).gather(-1, ids[:, -count:, None])[..., 0])
    for size in (1, 2, 5):
        for ours, theirs in zip(gradient(by_parts(policy, ids, attention, count, size)), plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_rows_of_a_part_are_of_similar_length_and_all_are_there_once(size: int) -> None:
    lengths = [(2, 3), (4, 9), (1, 1), (3, 3), (2, 11), (1, 5), (4, 4)]
    parts = rows.parts(*batch(lengths), size)
    assert sorted(int(i) for part in parts for i in part.chosen) == list(range(len(lengths)))
    widths = [part.ids.shape[1] for part in parts]
    assert widths == sorted(widths, reverse=True) and all(len(part.chosen) <= size for part in parts)
    assert widths == [max(sum(lengths[i]) for i in part.chosen) for part in parts]
