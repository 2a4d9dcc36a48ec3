"""Which prompts a rollout takes: the order of every pass over the train set, and of further prompts.

TRL's ``RepeatSampler`` draws all passes from one generator, so a run that resumes after its first
pass would train on other prompts. Here an order depends on the seed and the number of the pass
alone. The first pass, the second, ... are those of ``RepeatSampler`` with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


def pass_order(prompts: int, seed: int, number: int, shuffle: bool = True) -> list[int]:
    """Return the order of the prompts in a pass.

    Args:
        prompts: size of the train set.
        seed: of the run.
        number: of the pass, from 0.
        shuffle: False keeps the order of the train set in every pass.

    Returns:
        A permutation of ``range(prompts)``.
    """
    if not shuffle:
        return list(range(prompts))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        torch.randperm(prompts, generator=generator)
    return torch.randperm(prompts, generator=generator).tolist()


def further_prompts(prompts: int, seed: int, rollout: int, taken: set[int]) -> list[int]:
    """Return the prompts outside ``taken`` in the order in which dynamic sampling takes them.

    It depends on the seed and the number of the rollout alone, so a resumed run takes the same.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + rollout)
    order = torch.randperm(prompts, generator=generator).tolist()
    return [index for index in order if index not in taken]


class PromptOrder(Sampler[int]):
    """Sampler of the RL train set: every prompt ``group_size`` times, every rollout ``repeats`` times.

    A rollout is repeated because TRL's loader hands it out once per forward pass that learns from
    it. Prompts at the end of a pass that do not fill a rollout are left out, as TRL does.

    Args:
        prompts: size of the train set.
        group_size: completions per prompt.
        per_rollout: prompts per rollout.
        repeats: forward passes per rollout.
        seed: of the run.
        shuffle: False keeps the order of the train set.
    """

    def __init__(
        self,
        prompts: int,
        *,
        group_size: int,
        per_rollout: int,
        repeats: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.prompts, self.group_size, self.per_rollout = prompts, group_size, per_rollout
        self.repeats, self.seed, self.shuffle = repeats, seed, shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that the next iteration yields, from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = pass_order(self.prompts, self.seed, self.epoch, self.shuffle)
        for first in range(0, self.prompts - self.per_rollout + 1, self.per_rollout):
            for _ in range(self.repeats):
                for index in order[first : first + self.per_rollout]:
                    yield from [index] * self.group_size

    def __len__(self) -> int:
        rollouts = self.prompts // self.per_rollout
        return rollouts * self.per_rollout * self.group_size * self.repeats
