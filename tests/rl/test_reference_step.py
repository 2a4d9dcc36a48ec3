"""The trainer's gradients are those of the slow reference, in every combination of its switches."""

from __future__ import annotations

import copy
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from repro import training
from repro.config import plain
from repro.rl import stage
from repro.validate import validate
from tests.conftest import SHRINK
from tests.rl.reference_step import Row, advantages_of, critic_loss, policy_loss
from tests.rl.small import train
from tests.test_config import composed

TOLERANCE = 1e-4
# The switches that interact; every combination of them is one setting of the slow matrix.
MATRIX = {
    "rl": ["ppo", "grpo", "rloo", "reinforce_pp"],
    "rl.kl_in": ["reward", "loss"],
    "rl.kl_split": ["true", "false"],
    "mask": [
        [],
        ["rl.mask_truncated=true"],
        ["rl.mask_truncated=true", "rl.truncated_in_statistics=false"],
    ],
    "rl.loss_aggregation": ["per_sample_mean", "token_mean", "constant"],
    "rl.minibatches": ["1", "2"],
    "rl.micro_batch_size": ["null", "1"],
    "rl.temperature": ["1.0", "0.7"],
    "rl.engine": ["native", "transformers"],
}
# Beside them, drawn for each setting.
FURTHER = {
    "rl.kl_estimator": ["null", "k1", "k2", "k3"],
    "rl.entropy_coefficient": ["0", "0.3"],
    "rl.clip_high": ["null", "0.05"],
    "rl.epochs": ["1", "2"],
    "reward": ["cosine_repetition", "cosine"],
    "rl.whiten": ["true", "false"],
}

FIXED = [
    "rl.steps=1", "rl.prompts_per_step=2", "rl.group_size=4", "rl.max_grad_norm=1e9", "rl.eval_steps=0",
    "rl.kl=0.2", "rl.measure_kl=true", "rl.learning_rate=0.01", "rl.critic_learning_rate=0.01", "rl.warmup=0",
    "rl.max_completion_length=32",
]  # fmt: skip


def overrides(setting: dict) -> list[str]:
    setting = dict(setting)
    mask = setting.pop("mask")
    if setting["rl.kl_in"] == "loss" and setting["rl.kl_estimator"] in ("k1", "k2"):
        setting["rl.kl_estimator"] = "k3"
    line = [f"{key}={value}" for key, value in setting.items()]
    if setting["rl"] == "ppo" and setting["reward"] == "cosine" and setting["rl.kl_split"] == "true":
        line.append("rl.gae_lambda=0.9")
    if setting["reward"] == "cosine_repetition":
        line.append("reward.repetition.ngram_size=2")
    return [*line, *mask]


def clone(model):
    """Return a model of the same weights with its own forward pass; TRL patches that of the trainer's."""
    copied = type(model)(model.config)
    copied.load_state_dict(model.state_dict())
    return copied.train()


class Recorded:
    """What a trainer did in one rollout: models before it, completions, gradients of every update."""

    def __init__(self, trainer) -> None:
        self.policy = clone(trainer.accelerator.unwrap_model(trainer.model))
        with torch.no_grad():  # else the KL of the first step would be 0
            for weight in trainer.ref_model.parameters():
                weight += 0.05 * torch.randn_like(weight)
        self.reference = clone(trainer.ref_model)
        self.critic = copy.deepcopy(trainer.critic.critic) if trainer.critic else None
        self.rows: list[Row] = []
        self.chosen: list[list[int]] = [[]]
        self.updates: list[tuple[dict, dict]] = []  # weights and gradients of the policy
        self.critic_updates: list[tuple[dict, dict]] = []
        self._listen(trainer)

    def _listen(self, trainer) -> None:
        sample, loss = trainer._generate_and_score_completions, trainer._compute_loss

        def recorded_sample(inputs):
            out = sample(inputs)
            scored = trainer.scorer.last
            for i, ids in enumerate(scored.batch.token_ids):
                prompt = out["prompt_ids"][i][out["prompt_mask"][i].bool()].tolist()
                streams: dict[float, list[float]] = {}
                for name, values in scored.rewards.items():
                    stream = streams.setdefault(scored.gammas[name], [0.0] * len(ids))
                    if np.ndim(values[i]):
                        for t, value in enumerate(values[i]):
                            stream[t] += float(value)
                    else:
                        stream[-1] += float(values[i])
                self.rows.append(Row(prompt, list(ids), bool(scored.finished[i]), streams))
            out["row"] = torch.arange(len(self.rows))
            return out

        def recorded_loss(model, inputs):
            self.chosen[-1] += inputs["row"].tolist()
            return loss(model, inputs)

        trainer._generate_and_score_completions = recorded_sample
        trainer._compute_loss = recorded_loss
        policy_step = trainer.create_optimizer().step
        trainer.optimizer.step = self._step(trainer.model, policy_step, self.updates, self.chosen)
        if trainer.critic:
            critic = trainer.critic.learner
            critic.optimizer.step = self._step(critic.model, critic.optimizer.step, self.critic_updates, None)

    @staticmethod
    def metrics(work: Path) -> dict:
        """Return the metrics of the only step."""
        (row,) = (work / ".resume" / "metrics.jsonl").read_text().splitlines()
        return json.loads(row)

    @staticmethod
    def _step(model, step, updates, chosen):
        def recorded(*arguments, **settings):
            weights = {n: p.detach().clone() for n, p in model.named_parameters()}
            gradients = {n: p.grad.detach().clone() for n, p in model.named_parameters()}
            updates.append((weights, gradients))
            if chosen is not None:
                chosen.append([])
            return step(*arguments, **settings)

        return recorded


def record(start: Path, work: Path, line: list[str]) -> tuple[dict, Recorded]:
    """Train one rollout by the real stage and record it."""
    recorded = []

    def run(trainer, *settings) -> None:
        recorded.append(Recorded(trainer))
        training_run(trainer, *settings)

    training_run = training.run
    config = composed(*SHRINK, *line)
    validate(config)
    config = plain(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run", run)
        work.mkdir()
        stage.build(config, start, work, "test")
    return config["rl"], recorded[0]


def error(model, weights: dict, gradients: dict, loss_of) -> float:
    """Return the relative error of ``gradients`` against those of ``loss_of(model)`` at ``weights``."""
    model.load_state_dict(weights, strict=False)
    model.zero_grad()
    loss = loss_of(model)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    if loss.requires_grad:
        loss.backward()
        expected = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    assert expected.keys() == gradients.keys()
    difference = sum(float(((gradients[n] - expected[n]) ** 2).sum()) for n in expected) ** 0.5
    size = sum(float((expected[n] ** 2).sum()) for n in expected) ** 0.5
    return difference / max(size, 1e-3)


def worst_error(start: Path, work: Path, setting: dict) -> float:
    """Return the largest relative error over all updates of policy and critic in one setting."""
    rl, seen = record(start, work, [*overrides(setting), *FIXED])
    truncated = [not row.finished for row in seen.rows]
    assert any(truncated) and not all(truncated)
    signal = advantages_of(rl, seen.rows, seen.policy, seen.reference, seen.critic)
    tokens = sum(len(row.completion) for row in seen.rows if row.finished or not rl["mask_truncated"])
    assert len(seen.updates) == rl["epochs"] * rl["minibatches"]
    errors = []
    for (weights, gradients), chosen in zip(seen.updates, seen.chosen[:-1], strict=True):
        assert len(chosen) == len(seen.rows) // rl["minibatches"] == len(set(chosen))
        errors.append(
            error(
                seen.policy,
                weights,
                gradients,
                lambda model, chosen=chosen: policy_loss(rl, seen.rows, chosen, model, signal, tokens),
            )
        )
    for (weights, gradients), chosen in zip(seen.critic_updates, seen.chosen[:-1], strict=False):
        errors.append(
            error(
                seen.critic,
                weights,
                gradients,
                lambda model, chosen=chosen: critic_loss(rl, seen.rows, chosen, model, signal),
            )
        )
    assert bool(seen.critic_updates) == (rl["baseline"] == "ppo")
    return max(errors)


def covering(factors: dict[str, list], seed: int = 0) -> list[dict]:
    """Return settings in which every two values of different factors meet."""
    rng = random.Random(seed)
    wanted = {(a, i, b, j) for a, b in itertools.combinations(factors, 2) for i in range(len(factors[a])) for j in range(len(factors[b]))}
    found = []
    while wanted:
        tries = [{name: rng.randrange(len(v)) for name, v in factors.items()} for _ in range(200)]
        pairs = lambda t: {(a, t[a], b, t[b]) for a, b in itertools.combinations(factors, 2)}  # noqa: E731
        best = max(tries, key=lambda t: len(wanted & pairs(t)))
        wanted -= pairs(best)
        found.append({name: factors[name][i] for name, i in best.items()})
    return found


@pytest.mark.parametrize("index", range(len(COVERING := covering({**MATRIX, **FURTHER}))))
def test_every_two_switches_together(index: int, start, tmp_path) -> None:
    assert worst_error(start, tmp_path / "work", COVERING[index]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("baseline", MATRIX["rl"])
@pytest.mark.parametrize("engine", MATRIX["rl.engine"])
def test_the_whole_matrix(baseline: str, engine: str, start, tmp_path) -> None:
    factors = {**MATRIX, "rl": [baseline], "rl.engine": [engine]}
    rng, worst, count = random.Random(f"{baseline}/{engine}"), 0.0, 0
    for values in itertools.product(*factors.values()):
        setting = dict(zip(factors, values, strict=True))
        setting |= {name: rng.choice(choices) for name, choices in FURTHER.items()}
        found = worst_error(start, tmp_path / str(count), setting)
        assert found < TOLERANCE, setting
        worst, count = max(worst, found), count + 1
    print(f"{baseline} {engine}: {count} settings, worst relative error {worst:.2e}")


def test_truncated_completions_have_their_kl(start, tmp_path) -> None:
    """Policy and reference are one at the first step, whatever is left out of the loss."""
    for extra in ([], ["rl.minibatches=2"], ["rl.engine=transformers"]):
        rows = train(
            start,
            tmp_path / "".join(extra),
            "rl=ppo", "rl.mask_truncated=true", "rl.steps=2", "rl.kl=0.05", *extra,
        )  # fmt: skip
        assert 0 < rows[0]["truncated"] < 1
        assert abs(rows[0]["kl"]) < 1e-6 and abs(rows[0]["kl/k1"]) < 1e-5
        if "sampler/logp_difference_max" in rows[0]:
            assert rows[0]["sampler/logp_difference_max"] < 1e-4
