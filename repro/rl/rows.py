"""Forward passes over completions without padding's cost: rows of similar length, moved to the left, under nothing but the causal mask.

A rollout batch has prompts padded on the left and completions on the right. Here each row begins at its prompt's first token, so that all its
padding is behind it, where a causal model cannot see it: no padding mask is needed, attention takes its causal path, and a batch is as wide as
its longest row. ``repro.rl.trainer`` and ``repro.rl.critic`` read policy, reference and critic so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 16  # completions in one forward pass


@dataclass(frozen=True)
class Part:
    """Some rows of a batch. ``chosen``: their numbers; ``ids``: ``[rows, width]``; ``kept``: the last positions of a row that hold all its
    completion; ``where``: ``[rows, count]``, at which of them each token of the completion stands; ``real``: whether it is one."""

    chosen: Tensor
    ids: Tensor
    kept: int
    where: Tensor
    real: Tensor

    @property
    def attention(self) -> Tensor:
        """All ones: behind a row's end nothing is hidden, and nothing is read."""
        return torch.ones_like(self.ids)


def parts(input_ids: Tensor, attention_mask: Tensor, count: int, size: int = ROWS) -> list[Part]:
    """Cut a batch of prompts and completions.

    Args:
        input_ids, attention_mask: ``[batch, prompt + count]``, prompts padded on the left, completions on the right; a prompt is never empty.
        count: tokens of the longest completion.
        size: rows of a part, at most.
    """
    before, cut = input_ids.shape[1] - count, []
    prompt, completion = attention_mask[:, :before].sum(1), attention_mask[:, before:].sum(1)
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    for chosen in (prompt + completion).argsort(descending=True, stable=True).split(size):
        starts, lengths = prompt[chosen, None], completion[chosen, None]
        first = int(starts.min())
        width = max(first + 1, int((starts + lengths).max()))  # a part of empty completions has a position too
        source = (before - starts + columns[:width]).clamp(max=input_ids.shape[1] - 1)
        where = (columns[:count] + starts - first).clamp(max=width - first - 1)
        cut.append(Part(chosen, input_ids[chosen].gather(1, source), width - first, where, columns[:count] < lengths))
    return cut


def join(cut: list[Part], found: list[Tensor]) -> Tensor:
    """``[batch, count]``, by token of the completions and 0 where there is none, from what was found at the ``kept`` positions of each part."""
    spread = [torch.where(part.real, values.gather(1, part.where), 0.0) for part, values in zip(cut, found, strict=True)]
    return torch.cat(spread)[torch.cat([part.chosen for part in cut]).argsort()]
