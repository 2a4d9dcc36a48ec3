"""DAPO's dynamic sampling: groups whose rewards do not differ make way for groups of further prompts.

A group in which every completion has the same reward has no advantage and teaches nothing. Such
groups are replaced by freshly sampled groups of prompts outside the batch, in at most
``rl.dynamic_sampling`` further rounds; each round samples as many groups as are still wanted.
Groups that remain without a difference when the rounds or the prompts are used up stay in the
batch, so its size never changes. What was sampled and not used counts as sampled: in ``tokens``, in
the budget and in ``sampling/samples``.

Unlike DAPO, which filters by accuracy, the reward decides, since it is the reward that must differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_DIFFERENCE = 1e-8  # between the rewards of a group; less is rounding


@dataclass(frozen=True)
class Completion:
    """One sampled completion: the row of its prompt, token ids, log-probabilities if known, reward."""

    row: dict[str, Any]
    token_ids: list[int]
    logps: list[float] | None
    reward: float


Group = list[Completion]


@dataclass(frozen=True)
class Resampled:
    """A rollout batch after dynamic sampling.

    Attributes:
        groups: those of the batch, in its order.
        samples, tokens: of all completions that were sampled, used or not.
        rounds: further rounds that were needed.
        without_difference: share of the batch's groups whose rewards do not differ.
    """

    groups: list[Group]
    samples: int
    tokens: int
    rounds: int
    without_difference: float


def differs(group: Group) -> bool:
    """Return whether the rewards of a group differ."""
    rewards = [completion.reward for completion in group]
    return max(rewards) - min(rewards) > LEAST_DIFFERENCE


def resample(
    groups: Sequence[Group],
    further: Sequence[int],
    rounds: int,
    sample: Callable[[list[int]], list[Group]],
    multiple: int = 1,
) -> Resampled:
    """Replace groups without a difference.

    Args:
        groups: the batch as it was sampled.
        further: prompts to take instead, in this order.
        rounds: the most further rounds.
        sample: samples a group of each of these prompts.
        multiple: prompts of a round are a multiple of it, so that every process has as many.

    Returns:
        The batch of the same size, and what it cost.
    """
    batch, sampled, done, taken = list(groups), list(groups), 0, 0
    places = [place for place, group in enumerate(batch) if not differs(group)]
    while places and done < rounds:
        wanted = -(-len(places) // multiple) * multiple
        prompts = list(further[taken : taken + wanted])
        prompts = prompts[: len(prompts) // multiple * multiple]
        if not prompts:
            break
        taken, done = taken + len(prompts), done + 1
        fresh = sample(prompts)
        sampled += fresh
        for group in fresh:
            if places and differs(group):
                batch[places.pop(0)] = group
    completions = [completion for group in sampled for completion in group]
    return Resampled(
        batch,
        samples=len(completions),
        tokens=sum(len(completion.token_ids) for completion in completions),
        rounds=done,
        without_difference=len(places) / len(batch),
    )
