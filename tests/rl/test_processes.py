"""Several processes retrace one: data parallel and FSDP2, over gloo on a CPU, with checkpoints and what is saved."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from repro import interrupt
from repro.checkpoints import last_checkpoint
from tests.rl.small import REWARD, assert_same, assert_same_weights, make_start, train

pytestmark = pytest.mark.skipif(
    torch.cuda.device_count() == 1, reason="two processes cannot share the one GPU: CUDA_VISIBLE_DEVICES= hides it"
)
# Groups of three, so that a group lies across the two processes.
TEN = [*REWARD, "rl.prompts_per_step=2", "rl.group_size=3", "rl.steps=10", "rl.kl=0.05", "rl.save_steps=5"]
TWO = "launch.processes=2"


# What these send between processes grpo and ppo send too.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "reinforce_pp")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("baseline", ["grpo", *SLOW, "ppo"])
def test_two_processes_retrace_one(baseline: str, start, tmp_path) -> None:
    one = train(start, tmp_path / "one", *TEN, f"rl={baseline}")
    two = train(start, tmp_path / "two", *TEN, f"rl={baseline}", "launch=ddp", TWO)
    assert_same(one, two, 2e-3)
    assert_same(one[:1], two[:1], 1e-5)  # the first step, before any rounding could grow
    assert_same_weights(tmp_path / "one", tmp_path / "two", 2e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("launch", "baseline", "tied"),
    [
        ("fsdp", "ppo", False),
        pytest.param("fsdp", "grpo", True, marks=pytest.mark.slow),
        pytest.param("zero2", "ppo", True, marks=pytest.mark.slow),
        pytest.param("zero3", "ppo", False, marks=pytest.mark.slow),
    ],
)
def test_spread_weights_retrace_whole_ones(launch: str, baseline: str, tied: bool, tmp_path, monkeypatch) -> None:
    """Policy, reference and critic of two layers; asked to stop after the first step, and gone on from its checkpoint."""
    if launch != "fsdp":
        pytest.importorskip("deepspeed")
    start = make_start(tmp_path / "start", num_hidden_layers=2, tie_word_embeddings=tied)
    # Not in minibatches: which completions share one depends on the number of processes.
    settings = [*TEN, f"rl={baseline}", "rl.epochs=2", "rl.micro_batch_size=1", "rl.steps=5", "rl.eval_steps=2"]
    one = train(start, tmp_path / "one", *settings)
    with monkeypatch.context() as patch, pytest.raises(interrupt.Interrupted):
        patch.setattr(interrupt, "_wanted", True)
        train(start, tmp_path / "two", *settings, f"launch={launch}", TWO)
    kept = last_checkpoint(tmp_path / "two")
    assert kept.name == "checkpoint-2"  # of two updates
    assert list(kept.glob("pytorch_model_fsdp.bin" if launch == "fsdp" else "global_step*"))  # it was not passed over for plain DDP
    two = train(start, tmp_path / "two", *settings, f"launch={launch}", TWO)
    assert_same(one, two, 2e-3)
    assert_same(one[:1], two[:1], 1e-5)
    for model in ("model", "policies/step-000002", "policies/step-000004"):
        assert_same_weights(tmp_path / "one", tmp_path / "two", 2e-3, model)
    saved = tmp_path / "two" / "model"
    assert {path.name for path in saved.iterdir()} == {path.name for path in (tmp_path / "one" / "model").iterdir()}
    loaded, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and loaded.config.tie_word_embeddings is tied
