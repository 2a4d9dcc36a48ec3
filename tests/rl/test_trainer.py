"""The trainer on a tiny model: the same whatever the batch is cut into, each baseline finds a known optimum, rollouts are logged."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from repro.rl import stage
from repro.rl.critic import CriticTrainer
from repro.rl.trainer import StreamTrainer
from tests.rl.small import REWARD, assert_same, assert_same_weights, train

LOGGED = """
accuracy truncated exceed no_answer tokens length/mean length/median length/p90 length/max length/finished_over_all repetition/40gram
keyword/wait keyword/wait_per_1k branching branching_per_1k reward/cosine reward/repetition reward kl kl/k1 entropy clip_ratio/region_mean
critic/loss critic/explained_variance grad_norm tokens_per_second sampler/logp_difference
"""


@pytest.mark.parametrize("loss", ["per_sample_mean", "token_mean", "constant"])
def test_eight_accumulated_are_one_of_eight(loss: str, start, tmp_path) -> None:
    common = [*REWARD, "rl=ppo", f"rl.loss_aggregation={loss}", "rl.prompts_per_step=4", "rl.kl=0.05"]
    whole = train(start, tmp_path / "whole", *common)
    parts = train(start, tmp_path / "parts", *common, "rl.micro_batch_size=1")
    assert_same(whole, parts, 2e-4)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts", 2e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it learns in turn")
def test_a_critic_that_learns_beside_the_policy_learns_the_same(start, tmp_path, monkeypatch) -> None:
    settings, made, learn, in_main = [*REWARD, "rl=ppo", "rl.kl=0.05"], StreamTrainer.__init__, CriticTrainer.learn, []

    def in_turn(self, **settings) -> None:
        made(self, **settings)
        self._beside = None

    def where(self, *settings) -> dict[str, float]:
        in_main.append(threading.current_thread() is threading.main_thread())
        return learn(self, *settings)

    monkeypatch.setattr(CriticTrainer, "learn", where)
    beside = train(start, tmp_path / "beside", *settings)
    monkeypatch.setattr(StreamTrainer, "__init__", in_turn)
    assert_same(beside, train(start, tmp_path / "in turn", *settings), 0.0)
    assert in_main == [False] * 4 + [True] * 4
    assert_same_weights(tmp_path / "beside", tmp_path / "in turn", 0.0)


def test_the_time_of_a_step_includes_the_critic(start, tmp_path, monkeypatch) -> None:
    from repro.rl import critic

    loss = critic.value_loss
    monkeypatch.setattr(critic, "value_loss", lambda *settings: time.sleep(0.5) or loss(*settings))
    rows = train(start, tmp_path / "work", *REWARD, "rl=ppo")
    assert min(row["step_time"] for row in rows) >= 0.5


def test_a_failure_of_the_critic_ends_the_stage(start, tmp_path, monkeypatch) -> None:
    def fail(*_) -> None:
        raise RuntimeError("of the critic")

    monkeypatch.setattr("repro.rl.critic.value_loss", fail)
    with pytest.raises(RuntimeError, match="of the critic"):
        train(start, tmp_path / "work", *REWARD, "rl=ppo")


class Bandit:
    """A verifier for which an answer is right if its first word is one of seven: the optimum is to say one of them always."""

    version = "bandit"

    def verify_batch(self, golds, outputs, *, task, truncated):
        from repro.verifiers import Verdict

        words = {f"x{i}" for i in range(7)}
        return [Verdict(text.split(" ")[0] in words, text, "bandit", "", 0.0) for text in outputs]

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("baseline", ["grpo", "rloo", "reinforce_pp", "ppo"])
def test_each_baseline_finds_the_optimum_of_a_bandit(baseline: str, start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("repro.verifiers.choose.make_verifier", lambda *_: Bandit())
    sizes = ["rl.prompts_per_step=4", "rl.group_size=8", "rl.steps=150", "rl.max_completion_length=3", "rl.save_steps=1000"]
    learning = ["rl.learning_rate=1e-2", "rl.critic_learning_rate=1e-2", "reward.classic.exceed=null"]
    rows = train(start, tmp_path / "work", f"rl={baseline}", *sizes, *learning)
    accuracy = [row["accuracy"] for row in rows]
    assert np.mean(accuracy[:3]) < 0.3 and np.mean(accuracy[-5:]) > 0.95, accuracy


def test_what_a_step_logs(start, tmp_path) -> None:
    rows = train(start, tmp_path / "work", *REWARD, "rl=ppo", "rl.epochs=2", "rl.minibatches=2", "rl.measure_kl=true")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        for name in LOGGED.split():
            assert row[name] is not None or name == "critic/explained_variance", name  # which has no value where all returns are equal
        assert row["length/mean"] == pytest.approx(row["completions/mean_length"])  # TRL's own count
        assert row["reward"] == pytest.approx(row["reward/cosine"] + row["reward/repetition"], abs=1e-4)
        assert row["sampler/logp_difference_max"] < 1e-4
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-9) and rows[-1]["kl"] > 0
    assert any(row["critic/explained_variance"] is not None for row in rows)
    samples = pq.read_table(tmp_path / "work" / "rollouts.parquet").to_pylist()
    assert {s["step"] for s in samples} == {1, 2, 3, 4} and all(s["response"] for s in samples)


def test_the_kl_of_sampled_log_probabilities_is_that_of_a_forward_pass(start, tmp_path, monkeypatch) -> None:
    seen, inner = [], StreamTrainer._kl_of_tokens

    def both(self, out, mask):
        assert self.native and "old_per_token_logps" not in out
        sampled = inner(self, out, mask)
        monkeypatch.setattr(self, "native", False)
        seen.append((sampled, inner(self, out, mask)))
        monkeypatch.setattr(self, "native", True)
        return sampled

    monkeypatch.setattr(StreamTrainer, "_kl_of_tokens", both)
    train(start, tmp_path / "work", *REWARD, "rl=ppo", "rl.temperature=0.8", "rl.top_p=0.9")
    assert len(seen) == 4 and float(seen[-1][0].abs().max()) > 1e-3  # by then the policy has left the reference
    for sampled, forward in seen:
        torch.testing.assert_close(sampled, forward, atol=1e-4, rtol=0)


def test_a_warming_critic_leaves_the_policy_alone(start, tmp_path) -> None:
    rows = train(start, tmp_path / "work", *REWARD, "rl=ppo", "rl.critic_warmup=1")
    before, after = load_file(start / "model.safetensors"), load_file(tmp_path / "work" / "model" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert rows[-1]["critic/loss"] != rows[0]["critic/loss"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["rl.engine=transformers"],
        ["rl.kl=0.1", "rl.kl_in=loss"],
        ["rl.kl=0.1", "rl.kl_split=false"],
        ["rl.mask_truncated=true"],
        ["rl.clip_high=0.28", "rl.epochs=2"],
        ["rl=ppo", "rl.group_size=1", "rl.prompts_per_step=5"],
        ["rl=ppo", "rl.gae_lambda=0.9", "reward=classic"],
        ["rl=reinforce_pp", "rl.group_size=1", "rl.prompts_per_step=3"],
        ["rl.temperature=0.6", "rl.top_p=0.9"],
    ],
)
def test_other_choices_run(overrides: list[str], start, tmp_path) -> None:
    rows = train(start, tmp_path / "work", *(REWARD if "reward=classic" not in overrides else []), *overrides)
    assert len(rows) == 4 and all(np.isfinite(row["loss"]) for row in rows)


def test_a_batch_that_does_not_divide_over_the_processes() -> None:
    from repro.config import ConfigError

    rl = {"prompts_per_step": 3, "group_size": 3, "minibatches": 1, "micro_batch_size": None, "epochs": 1}
    assert stage.sizes(rl, 3) == (3, 1, 1)
    assert stage.sizes({**rl, "minibatches": 3, "epochs": 2, "micro_batch_size": 1}, 1) == (1, 3, 6)
    with pytest.raises(ConfigError, match=r"rl\.prompts_per_step=3 x rl\.group_size=3 .* 2 processes"):
        stage.sizes(rl, 2)


def test_where_the_time_of_a_step_goes() -> None:
    """The benchmark for GPUs, at the size that it has without one."""
    from tests.benchmarks import gpu

    text = gpu.main(["--size", "small", "--steps", "1", "--rl", "ppo"])
    rows = dict(line.strip("| ").split(" | ") for line in text.splitlines() if line.count("|") == 3 and "--" not in line)
    assert set(gpu.PARTS) <= set(rows) and float(rows["rollout"]) > 0 and float(rows["forward, backward"]) > 0
    assert float(rows["tokens of rollouts a step"].replace(",", "")) > 100
