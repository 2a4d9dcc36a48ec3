"""The trainer on a tiny model: the same whatever the batch is cut into, each baseline finds a known optimum, rollouts are logged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from repro.config import plain
from repro.models.load import build_micro
from repro.models.tokenizer import build_tokenizer
from repro.rl import stage
from repro.validate import validate
from tests.conftest import SHRINK
from tests.test_config import composed

REWARD = ["reward=cosine_repetition", "reward.repetition.ngram_size=2"]
COMPARED = ("loss", "grad_norm", "reward", "advantage/std", "length/mean", "entropy", "reward/repetition")


LOGGED = """
accuracy truncated exceed no_answer tokens length/mean length/median length/p90 length/max length/finished_over_all repetition/40gram
keyword/wait keyword/wait_per_1k branching branching_per_1k reward/cosine reward/repetition reward kl kl/k1 entropy clip_ratio/region_mean
critic/loss critic/explained_variance grad_norm tokens_per_second sampler/logp_difference
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    micro = {"architecture": "llama", "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 32, "context": 320}
    build_micro(micro).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def train(start: Path, work: Path, *overrides: str) -> list[dict[str, float]]:
    """Metrics of every step."""
    config = composed(*SHRINK, "rl.eval_steps=0", *overrides)
    validate(config)
    work.mkdir()
    stage.build(plain(config), start, work, "test")
    return pq.read_table(work / "metrics.parquet").to_pylist()


def assert_same(one: list[dict], two: list[dict], tolerance: float) -> None:
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        for name in COMPARED:
            assert a[name] == pytest.approx(b[name], rel=tolerance, abs=tolerance), (a["step"], name)


def assert_same_weights(one: Path, two: Path, tolerance: float) -> None:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, two))
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < tolerance


@pytest.mark.parametrize("loss", ["per_sample_mean", "token_mean", "constant"])
def test_eight_accumulated_are_one_of_eight(loss: str, start, tmp_path) -> None:
    common = [*REWARD, "rl=ppo", f"rl.loss_aggregation={loss}", "rl.prompts_per_step=4", "rl.kl=0.05"]
    whole = train(start, tmp_path / "whole", *common)
    parts = train(start, tmp_path / "parts", *common, "rl.micro_batch_size=1")
    assert_same(whole, parts, 2e-4)
    assert [row["critic/loss"] for row in whole] == pytest.approx([row["critic/loss"] for row in parts], rel=1e-3)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts", 2e-4)


@pytest.mark.parametrize("baseline", ["grpo", "rloo", "reinforce_pp", "ppo"])
def test_two_processes_retrace_one(baseline: str, start, tmp_path) -> None:
    """Ten steps over gloo; groups of three, so that a group lies across the processes."""
    common = [*REWARD, f"rl={baseline}", "rl.prompts_per_step=2", "rl.group_size=3", "rl.steps=10", "rl.eval_steps=0", "rl.kl=0.05"]
    one = train(start, tmp_path / "one", *common)
    config = plain(composed(*SHRINK, *common, "launch=ddp", "launch.processes=2"))
    work = tmp_path / "two"
    (work / ".resume").mkdir(parents=True)
    job = {"stage": "rl", "config": config, "start": str(start), "work": str(work), "run_id": "test"}
    (work / ".resume" / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "repro.worker"]
    done = subprocess.run([*command, str(work / ".resume" / "job.json")], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    two = pq.read_table(work / "metrics.parquet").to_pylist()
    assert_same(one, two, 2e-3)
    assert_same(one[:1], two[:1], 1e-5)  # the first step, before any rounding could grow
    assert_same_weights(tmp_path / "one", work, 2e-3)


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
