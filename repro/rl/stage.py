"""The RL stage: TRL's ``GRPOTrainer`` with this project's rewards and verifier.

Differs from a plain TRL script in what the reward sees (token counts with EOS, whether an answer was extracted, the truncated flag), in what
is logged every step, and in resuming exactly. Run as part of a cell (``python -m repro rl=grpo reward=cosine``).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from repro import training
from repro.data.web import train_items
from repro.models.load import load_model, load_tokenizer
from repro.rewards.terms import RewardBatch
from repro.tracking import open_tracker

VERSION = 1  # of the stage; raise it when a change here makes other checkpoints
SHOWN = {"accuracy": "acc", "length/mean": "tokens", "truncated": "trunc", "reward": "reward"}


class Reward:
    """The sum of the reward terms of a completion, as a TRL reward function; also measures the rollouts.

    Unlike TRL's own rewards it counts tokens with EOS, and a completion that hit the window has no answer.
    """

    __name__ = "reward"

    def __init__(self, terms: dict[str, Any], verifier, tokenizer, max_length: int) -> None:
        self.terms, self.verifier, self.tokenizer, self.max_length = terms, verifier, tokenizer, max_length

    def __call__(self, completion_ids, gold, task, question_id, log_metric=None, **_: Any) -> list[float]:
        eos = self.tokenizer.eos_token_id
        truncated = [not ids or ids[-1] != eos for ids in completion_ids]
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        verdicts = self.verifier.verify_batch(gold, texts, task=task, truncated=truncated)
        counts: Counter[str] = Counter()
        samples = []
        for question in question_id:
            samples.append(counts[question])
            counts[question] += 1
        batch = RewardBatch(
            lengths=np.array([len(ids) for ids in completion_ids]),
            correct=np.array([v.correct for v in verdicts]),
            answered=np.array([v.extracted is not None for v in verdicts]),
            token_ids=completion_ids,
            texts=texts,
            question_ids=list(question_id),
            sample_indices=np.array(samples),
            max_length=self.max_length,
        )
        rewards = {name: term.compute(batch) for name, term in self.terms.items()}
        if log_metric is not None:
            for name, value in rollout_metrics(batch, np.array(truncated)).items():
                log_metric(name, value)
            for name, values in rewards.items():
                log_metric(f"reward/{name}", float(np.mean(values)))
        return np.sum(list(rewards.values()), axis=0).tolist()


def rollout_metrics(batch: RewardBatch, truncated: np.ndarray) -> dict[str, float]:
    """Accuracy and chain length of one rollout batch. A length over no completion at all is left out rather than made up."""
    metrics = {
        "accuracy": batch.correct.mean(),
        "truncated": truncated.mean(),
        "no_answer": 1 - batch.answered.mean(),
        "tokens": batch.lengths.sum(),  # generated in this step
        "length/mean": batch.lengths.mean(),
        "length/median": np.median(batch.lengths),
        "length/p90": np.quantile(batch.lengths, 0.9),
        "length/max": batch.lengths.max(),
    }
    for name, chosen in (("correct", batch.correct), ("wrong", ~batch.correct), ("finished", ~truncated)):
        if chosen.any():
            metrics[f"length/{name}"] = batch.lengths[chosen].mean()
    return {name: float(value) for name, value in metrics.items()}


def arguments(config: dict[str, Any], work: Path):
    """TRL's arguments for a cell; nothing is left to TRL's defaults that changes the training signal."""
    from trl import GRPOConfig

    rl = config["rl"]
    return GRPOConfig(
        **training.common_arguments(work, rl, config["seed"], rl["steps"]),
        per_device_train_batch_size=rl["prompts_per_step"] * rl["group_size"],
        num_generations=rl["group_size"],
        steps_per_generation=1,
        num_iterations=1,
        max_completion_length=rl["max_completion_length"],
        temperature=rl["temperature"],
        top_p=rl["top_p"],
        top_k=0,
        beta=rl["kl"],
        epsilon=rl["clip"],
        loss_type="grpo",  # token mean inside a completion, then over completions, as in the paper's trainer
        scale_rewards="group" if rl["scale_rewards"] else "none",
        importance_sampling_level="token",
        mask_truncated_completions=False,
        disable_dropout=True,
        use_vllm=False,
        shuffle_dataset=True,
        log_completions=False,
        remove_unused_columns=False,
    )


def build(config: dict[str, Any], terms: dict[str, Any], verifier, start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """Train the policy in ``start`` and save ``work/model`` and ``work/policies``. Returns facts for the manifest."""
    from datasets import Dataset
    from trl import GRPOTrainer

    rl, data = config["rl"], config["data"]
    tokenizer = load_tokenizer(start)
    tokenizer.padding_side = "left"
    items = train_items(data["split"], data["train_size"], data["seed"])
    rows = {
        "prompt": [[{"role": "user", "content": item.problem.prompt()}] for item in items],
        "gold": [item.reference for item in items],
        "task": [item.problem.task for item in items],
        "question_id": [item.problem.id for item in items],
    }
    begin = training.start_step(work)
    with open_tracker(config, run_id, "rl") as tracker:
        trainer = GRPOTrainer(
            model=load_model(start, training=True),
            args=arguments(config, work),
            reward_funcs=Reward(terms, verifier, tokenizer, rl["max_completion_length"]),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
            callbacks=[
                training.Marker(),
                training.KeepPolicies(work, rl["eval_steps"], tokenizer),
                training.Metrics(work, f"rl {rl['name']} {config['reward']['name']}", tracker, SHOWN, begin),
            ],
        )
        training.run(trainer, work)
    metrics = training.finish(trainer, tokenizer, work)
    return {"tokens": int(sum(row["tokens"] for row in metrics)), "steps": rl["steps"]}
