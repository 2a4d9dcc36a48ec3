"""RL on a model of a few thousand parameters, for the tests of the trainer: train, in one process or in several, and compare."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from repro import launch
from repro.config import plain
from repro.models.load import build_micro
from repro.models.tokenizer import build_tokenizer
from repro.rl import stage
from repro.validate import validate
from tests.conftest import SHRINK
from tests.test_config import composed

REWARD = ["reward=cosine_repetition", "reward.repetition.ngram_size=2"]
COMPARED = ("loss", "grad_norm", "reward", "advantage/std", "length/mean", "entropy", "reward/repetition")
MICRO = {"architecture": "llama", "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 32, "context": 320}


def make_start(folder: Path, micro: dict = MICRO, **changes) -> Path:
    """A random checkpoint to start from, of the architecture ``micro``; ``changes`` of its configuration."""
    torch.manual_seed(0)
    model = build_micro(micro)
    for name, value in changes.items():
        setattr(model.config, name, value)
    type(model)(model.config).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def train(start: Path, work: Path, *overrides: str) -> list[dict[str, float]]:
    """Metrics of every step. Goes on from a checkpoint in ``work``; over several processes if ``overrides`` say so."""
    config = composed(*SHRINK, "rl.eval_steps=0", *overrides)
    validate(config)
    work.mkdir(exist_ok=True)
    if config.launch.name == "single":
        stage.build(plain(config), start, work, "test")
    else:
        launch.build("rl", plain(config), start, work, "test")
    return pq.read_table(work / "metrics.parquet").to_pylist()


def assert_same(one: list[dict], two: list[dict], tolerance: float) -> None:
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        for name in (*COMPARED, *(name for name in a if name.startswith(("critic/", "kl")))):
            same = a[name] is b[name] or a[name] == pytest.approx(b[name], rel=tolerance, abs=tolerance)
            assert same, (a["step"], name, a[name], b[name])


def assert_same_weights(one: Path, two: Path, tolerance: float, model: str = "model") -> None:
    a, b = (load_file(folder / model / "model.safetensors") for folder in (one, two))
    assert a.keys() == b.keys() and all(a[name].dtype == b[name].dtype for name in a)
    assert max(float((a[name] - b[name]).abs().max()) for name in a) <= tolerance
