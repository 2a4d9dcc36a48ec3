"""On a CUDA device: the trainer does there what it does on a CPU, and the engines sample what they say.

python -m pytest -m gpu tests/rl/test_gpu.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from repro import training
from repro.config import plain
from repro.models import sampler
from repro.models.load import load_model
from tests.conftest import SHRINK
from tests.rl.small import REWARD, assert_same, assert_same_weights, make_start, train
from tests.test_config import composed

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
BASELINES = ["grpo", "rloo", "reinforce_pp", "ppo"]


def train_on_cpu(start: Path, work: Path, *overrides: str) -> list[dict[str, float]]:
    """As ``train``, in a process that sees no GPU."""
    (work / ".resume").mkdir(parents=True)
    config = plain(composed(*SHRINK, "rl.eval_steps=0", *overrides))
    job = {"stage": "rl", "config": config, "start": str(start), "work": str(work), "run_id": "test"}
    (work / ".resume" / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "repro.worker", str(work / ".resume" / "job.json")]
    subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True, timeout=300)
    return pq.read_table(work / "metrics.parquet").to_pylist()


@pytest.mark.parametrize("baseline", BASELINES)
def test_steps_in_float32_are_those_of_a_cpu(baseline: str, start, tmp_path, monkeypatch) -> None:
    settings = [*REWARD, f"rl={baseline}", "rl.kl=0.05", "rl.measure_kl=true", "rl.steps=3"]
    common = training.common_arguments
    monkeypatch.setattr(training, "common_arguments", lambda *a: {**common(*a), "bf16": False, "gradient_checkpointing": False})
    there, here = train(start, tmp_path / "gpu", *settings), train_on_cpu(start, tmp_path / "cpu", *settings)
    assert_same(here[:1], there[:1], 1e-3)
    assert_same(here, there, 1e-2)
    assert_same_weights(tmp_path / "cpu", tmp_path / "gpu", 2e-3)


@pytest.mark.parametrize("baseline", BASELINES)
def test_steps_as_they_are_run_there(baseline: str, start, tmp_path) -> None:
    """bfloat16 and recomputed activations."""
    rows = train(start, tmp_path / "work", *REWARD, f"rl={baseline}", "rl.kl=0.05", "rl.measure_kl=true")
    assert len(rows) == 4 and all(np.isfinite(row["loss"]) and np.isfinite(row["grad_norm"]) for row in rows)
    assert max(row["sampler/logp_difference"] for row in rows) < 0.05


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_native_log_probabilities_are_those_of_a_forward_pass(kv_heads: int, tmp_path) -> None:
    model = load_model(make_start(tmp_path / "start", num_key_value_heads=kv_heads), training=True).eval()
    prompts = [[5, 6, 7], [9], [3, 4, 5, 6, 7, 8, 9, 10]] * 4
    noise = sampler.uniforms([str(i) for i in range(len(prompts))], 30)
    for prompt, completion, found in zip(prompts, *sampler.sample(model, prompts, noise, stops=[1], max_tokens=30), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion], device="cuda")).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1).cpu()[torch.arange(len(completion)), torch.tensor(completion)]
        assert torch.allclose(torch.tensor(found), expected, atol=1e-3)


@pytest.mark.timeout(900)
def test_vllm_beside_the_trainer(tmp_path) -> None:
    pytest.importorskip("vllm")
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 64}  # a head that its kernels know
    rows = train(make_start(tmp_path / "start", **shape), tmp_path / "work", *REWARD, "rl=ppo", "rl.engine=vllm_colocate")
    assert len(rows) == 4 and max(row["sampler/logp_difference"] for row in rows) < 0.1
