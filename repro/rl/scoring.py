"""From completions to reward streams: verifies, computes every reward term, and keeps them apart for the trainer.

To TRL it is a reward function that returns the sum of the terms; unlike TRL's own it counts tokens with EOS, a completion that hit the window
has no answer, and dense terms stay per token.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.models.stop_tokens import without_stop
from repro.rewards.terms import RewardBatch
from repro.verifiers.choose import wanted


@dataclass(frozen=True)
class Scored:
    """One rollout batch of one process. ``rewards``: term -> float array ``[batch]``, or for a dense term one array a completion."""

    batch: RewardBatch
    finished: np.ndarray
    rewards: dict[str, Any]
    gammas: dict[str, float]


class Scorer:
    """Reward function of the trainer; ``last`` is what it computed in its last call.

    Args:
        terms: reward terms by name (``repro.rewards.terms``).
        stops: ids that end a completion (``repro.models.stop_tokens``).
        margin: tokens before the window from which the exceed rate counts a completion.
    """

    __name__ = "reward"

    def __init__(self, terms: dict[str, Any], verifier, tokenizer, stops: Collection[int], max_length: int, margin: int = 0) -> None:
        self.stops = frozenset(stops)
        self.terms, self.verifier, self.tokenizer, self.max_length, self.margin = terms, verifier, tokenizer, max_length, margin
        self.last: Scored | None = None

    def __call__(self, completion_ids, gold, task, question_id, sample_index=None, difficulty=None, prompts=None, **_: Any) -> list[float]:
        finished = np.array([bool(ids) and ids[-1] in self.stops for ids in completion_ids])
        shown = [without_stop(ids, self.stops) for ids in completion_ids]
        texts = self.tokenizer.batch_decode(shown, skip_special_tokens=True)
        indices = list(sample_index if sample_index is not None else count_up(question_id))
        columns = {"question_ids": list(question_id), "samples": indices, "difficulties": difficulty, "prompts": plain_prompts(prompts)}
        more = {name: columns[name] for name in wanted(self.verifier)}
        verdicts = self.verifier.verify_batch(gold, texts, task=task, truncated=(~finished).tolist(), **more)
        batch = RewardBatch(
            lengths=np.array([len(ids) for ids in completion_ids]),
            correct=np.array([v.correct for v in verdicts]),
            answered=np.array([v.extracted is not None for v in verdicts]),
            token_ids=completion_ids,
            texts=texts,
            question_ids=list(question_id),
            sample_indices=np.array(indices),
            max_length=self.max_length,
        )
        rewards = {name: term.compute(batch) for name, term in self.terms.items()}
        self.last = Scored(batch, finished, rewards, {name: term.gamma for name, term in self.terms.items()})
        return np.sum([[float(np.sum(value)) for value in values] for values in rewards.values()], axis=0).tolist()


def plain_prompts(prompts) -> list[str] | None:
    """The user's text of each prompt, for a matcher that reads it."""
    return None if prompts is None else [p if isinstance(p, str) else p[-1]["content"] for p in prompts]


def count_up(names: Sequence[str]) -> list[int]:
    """How often each entry came before: 0, 1, 2 ... for the samples of one question."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        found.append(seen.get(name, 0))
        seen[name] = found[-1] + 1
    return found


def stack_streams(scored: Scored, time: int, device) -> tuple[Tensor, list[float]]:
    """(rewards float32 ``[batch, time, streams]``, discounts). Terms of one discount add up to one stream; a sparse reward lies on the last
    token of its completion."""
    gammas = sorted(set(scored.gammas.values()), reverse=True)
    streams = np.zeros((len(scored.batch.lengths), time, len(gammas)), dtype=np.float64)
    for name, values in scored.rewards.items():
        stream = gammas.index(scored.gammas[name])
        for row, (length, value) in enumerate(zip(scored.batch.lengths.tolist(), values, strict=True)):
            if np.ndim(value):
                streams[row, :length, stream] += value
            else:
                streams[row, length - 1, stream] += value
    return torch.from_numpy(streams).float().to(device), gammas
