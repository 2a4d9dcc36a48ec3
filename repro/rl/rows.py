"""Forward passes over completions without padding's cost: rows of similar length, moved to the left, under nothing but the causal mask.

A rollout batch has prompts padded on the left and completions on the right. Here each row begins at its prompt's first token, so that all its
padding is behind it, where a causal model cannot see it: no padding mask is needed, attention takes its causal path, and a batch is as wide as
its longest row. ``repro.rl.trainer`` and ``repro.rl.critic`` read policy, reference and critic so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 16  # completions in one forward pass


@dataclass(frozen=True)
class Part:
    """Some rows of a batch. ``chosen``: their numbers; ``ids``, ``attention``: ``[rows, width]``; ``kept``: the last positions of a row that
    hold all its completion; ``where``: ``[rows, count]``, at which of them each token of the completion stands; ``real``: whether it is one."""

    chosen: Tensor
    ids: Tensor
    attention: Tensor
    kept: int
    where: Tensor
    real: Tensor

    def spread(self, found: Tensor) -> Tensor:
        """What was found at the ``kept`` positions, ``[rows, kept]``, by token of the completion ``[rows, count]``, 0 where there is none."""
        return torch.where(self.real, found.gather(1, self.where), 0.0)


def parts(input_ids: Tensor, attention_mask: Tensor, count: int, rows: int = ROWS) -> Iterator[Part]:
    """Cut a batch of prompts and completions.

    Args:
        input_ids, attention_mask: ``[batch, prompt + count]``, prompts padded on the left, completions on the right; a prompt is never empty.
        count: tokens of the longest completion.
        rows: at most so many in a part.
    """
    before = input_ids.shape[1] - count
    prompt, completion = attention_mask[:, :before].sum(1), attention_mask[:, before:].sum(1)
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    for chosen in (prompt + completion).argsort(descending=True, stable=True).split(rows):
        starts, lengths = prompt[chosen, None], completion[chosen, None]
        first = int(starts.min())
        width = max(first + 1, int((starts + lengths).max()))  # a part of empty completions has a position too
        kept = width - first
        source = (before - starts + columns[:width]).clamp(max=input_ids.shape[1] - 1)
        ids = input_ids[chosen].gather(1, source)
        where = (columns[:count] + starts - width + kept).clamp(0, kept - 1)
        yield Part(chosen, ids, torch.ones_like(ids), kept, where, columns[:count] < lengths)


def join(cut: list[Tensor], chosen: list[Tensor]) -> Tensor:
    """The batch again, from what was found for each part."""
    return torch.cat(cut)[torch.cat(chosen).argsort()]
