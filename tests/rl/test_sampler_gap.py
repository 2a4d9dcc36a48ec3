"""The correction of a sampler's rounding: off by default, and else what it says, by an engine that stands in for vLLM."""

from __future__ import annotations

import functools
import math
import random
import sys
from types import SimpleNamespace

import pytest
import torch
from trl.trainer import grpo_trainer

from repro.models import sampler
from repro.rl import stage
from repro.rl.sampler_gap import share_beyond_cap
from tests.rl.reference_step import advantages_of, policy_loss
from tests.rl.test_reference_step import FIXED, TOLERANCE, error, record

CAP = 1.3


class NoisyEngine:
    """Samples as the native sampler, and gives log-probabilities that are off by a known noise."""

    noise = 0.3
    sampled: list[list[float]] = []  # noqa: RUF012 - read by the test
    settings: dict = {}  # noqa: RUF012

    def __init__(self, model, **settings) -> None:
        self.model, NoisyEngine.settings = model, settings
        NoisyEngine.sampled = []

    def sync_weights(self) -> None:
        pass

    def generate(self, prompts, images, num_generations, profiler):
        keys = [str(i) for i in range(len(prompts))]
        limit = self.settings["max_completion_length"]
        ids, logps = sampler.sample(
            self.model,
            prompts,
            sampler.uniforms(keys, limit),
            stops=self.settings["generation_kwargs"]["stop_token_ids"],
            max_tokens=limit,
        )
        rng = random.Random(0)
        logps = [[x + rng.gauss(0, self.noise) for x in row] for row in logps]
        logps[0][0] = None  # vLLM's way of saying NaN
        NoisyEngine.sampled = logps
        return None, ids, [[[x] for x in row] for row in logps], None


def weights_of(level: str, beyond: str, old: list[float], sampled: list[float]) -> list[float]:
    """Return the importance weight of every token of a completion, from first principles."""
    gaps = [0.0 if s is None else o - s for o, s in zip(old, sampled, strict=True)]
    made = [math.exp(sum(gaps))] * len(gaps) if level == "sequence" else [math.exp(g) for g in gaps]
    return [w if w <= CAP else CAP if beyond == "truncate" else 0.0 for w in made]


@pytest.mark.parametrize(
    ("level", "beyond"),
    [("off", "mask"), ("token", "truncate"), ("token", "mask"), ("sequence", "truncate"), ("sequence", "mask")],
)  # fmt: skip
def test_the_gradient_is_that_of_the_weights(level, beyond, start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", NoisyEngine)
    line = [
        "rl=grpo", "rl.engine=vllm_colocate", "rl.kl_in=loss", "reward=cosine",
        f"rl.vllm.correction={level}", f"rl.vllm.beyond_cap={beyond}", f"rl.vllm.correction_cap={CAP}",
    ]  # fmt: skip
    rl, seen = record(start, tmp_path / "work", [*line, *FIXED])
    signal = advantages_of(rl, seen.rows, seen.policy, seen.reference, None)
    weights = None
    if level != "off":
        weights = [weights_of(level, beyond, old, sampled) for old, sampled in zip(signal[3], NoisyEngine.sampled, strict=True)]
        cut = sum(w in (0.0, CAP) for row in weights for w in row)
        assert 0 < cut < sum(map(len, weights))
    ((trained, gradients),) = seen.updates
    loss = lambda model: policy_loss(rl, seen.rows, seen.chosen[0], model, signal, 0, weights)  # noqa: E731
    assert error(seen.policy, trained, gradients, loss) < TOLERANCE
    row = seen.metrics(tmp_path / "work")
    assert 0.1 < row["sampler/logp_difference"] < 0.5  # the mean of a normal of 0.3 is 0.24
    assert ("sampler/beyond_cap" in row) == (level != "off")
    if level == "token":
        assert row["sampler/beyond_cap"] == pytest.approx(cut / sum(map(len, weights)))
    if level == "sequence":
        dropped = sum(r[0] in (0.0, CAP) for r in weights)
        assert row["sampler/beyond_cap"] == pytest.approx(dropped / len(weights))


def test_shares_count_tokens_or_chains() -> None:
    trained = torch.tensor([[0.5, 0.0, 0.0], [0.2, 0.2, 9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    sampled = torch.zeros(2, 3)
    sampled[0, 1] = float("nan")
    assert [float(x) for x in share_beyond_cap(trained, sampled, mask, "token", 1.5)] == [1, 5]
    assert [float(x) for x in share_beyond_cap(trained, sampled, mask, "sequence", 1.45)] == [2, 2]


def test_an_eager_engine_is_told_so(monkeypatch) -> None:
    module = SimpleNamespace(LLM=dict)
    monkeypatch.setitem(sys.modules, "trl.generation.vllm_generation", module)
    monkeypatch.setattr("trl.generation.vllm_generation", module)
    stage.engine_settings({"eager": False})
    assert module.LLM is dict
    stage.engine_settings({"eager": True})
    assert isinstance(module.LLM, functools.partial) and module.LLM(model="m") == {
        "model": "m",
        "enforce_eager": True,
    }
