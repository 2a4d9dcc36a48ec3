"""Returns, advantages and baselines as pure functions on tensors: what turns rewards into a training signal.

Unlike the trainers of the Hugging Face stack, rewards are per token and come in *streams*, each with its own discount (paper sections 4.5 and
4.6). A sparse reward is a stream that is zero but for the last token.

    G_m[t] = r_m[t] + gamma_m * G_m[t+1]          returns of stream m
    A[t]   = sum_m G_m[t] - b                     b: the critic's value, the group's mean or leave-one-out mean, or nothing

Shapes: rewards ``[batch, time, streams]``; mask ``[batch, time]``, true on the tokens of a completion, EOS included; padding may stand on
either side and its rewards are ignored. All results are zero on padding.

    >>> import torch
    >>> rewards = torch.tensor([[[0.0, -1.0], [0.0, 0.0], [2.0, 0.0]]])
    >>> discounted_returns(rewards, [1.0, 0.5], torch.ones(1, 3))[0].tolist()
    [[2.0, -1.0], [2.0, 0.0], [2.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def _identity(x: Tensor) -> Tensor:
    return x


def _check(rewards: Tensor, mask: Tensor) -> None:
    if rewards.dim() != 3 or mask.shape != rewards.shape[:2]:
        raise ValueError(f"rewards are [batch, time, streams] and mask [batch, time], got {tuple(rewards.shape)} and {tuple(mask.shape)}")


def check_gammas(gammas: Sequence[float], streams: int) -> None:
    """Raises ValueError for a stream without a discount and for a discount outside (0, 1]."""
    if len(gammas) != streams:
        raise ValueError(f"{streams} reward streams need {streams} discounts, got {len(gammas)}: {list(gammas)}")
    for gamma in gammas:
        if not 0 < gamma <= 1:
            raise ValueError(f"a discount must be in (0, 1], got {gamma}")


def discounted_returns(rewards: Tensor, gammas: Sequence[float], mask: Tensor) -> Tensor:
    """Discounted reward-to-go of every stream, ``[batch, time, streams]`` in the dtype of ``rewards``.

    Raises:
        ValueError: shapes that do not fit, a stream without a discount, a discount outside (0, 1].
    """
    _check(rewards, mask)
    check_gammas(gammas, rewards.shape[2])
    factors = torch.tensor(gammas, dtype=rewards.dtype, device=rewards.device)
    kept = rewards * mask[..., None].to(rewards.dtype)
    returns = torch.zeros_like(kept)
    following = torch.zeros_like(kept[:, 0])
    inside = mask.bool()
    for t in range(rewards.shape[1] - 1, -1, -1):
        # Padding inside the row passes the return on undiscounted, so that a gap in the mask costs nothing.
        following = torch.where(inside[:, t, None], kept[:, t] + factors * following, following)
        returns[:, t] = following
    return returns * mask[..., None].to(rewards.dtype)


def gae(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation for one stream (Schulman et al., arXiv 1506.02438), without a bootstrap past the last token.

    Args:
        rewards, values, mask: ``[batch, time]``; ``values[b, t]`` is of the state before token t.

    Returns:
        (advantages, returns), both ``[batch, time]``; returns = advantages + values, the critic's target.

    Raises:
        ValueError: gamma outside (0, 1], lambda outside [0, 1], shapes that do not fit.
    """
    _check(rewards[..., None], mask)
    check_gammas([gamma], 1)
    if values.shape != rewards.shape:
        raise ValueError(f"values must have the shape of rewards, {tuple(rewards.shape)}, got {tuple(values.shape)}")
    if not 0 <= gae_lambda <= 1:
        raise ValueError(f"lambda must be in [0, 1], got {gae_lambda}")
    inside, kept = mask.bool(), mask.to(rewards.dtype)
    advantages = torch.zeros_like(rewards)
    advantage = torch.zeros_like(rewards[:, 0])
    value = torch.zeros_like(rewards[:, 0])  # of the state after the token, 0 past the end
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * value - values[:, t]
        advantage = torch.where(inside[:, t], delta + gamma * gae_lambda * advantage, advantage)
        value = torch.where(inside[:, t], values[:, t], value)
        advantages[:, t] = advantage
    advantages = advantages * kept
    return advantages, advantages + values * kept


def whiten(x: Tensor, mask: Tensor, reduce: Callable[[Tensor], Tensor] = _identity) -> Tensor:
    """Mean 0 and standard deviation 1 over all masked entries of all processes (population variance, as the paper's code).

    Args:
        reduce: sums a tensor over the processes; the default is for one process.
    """
    kept = mask.to(x.dtype)
    total = reduce(torch.stack([(x * kept).sum(), kept.sum()]).double())
    count = total[1].clamp(min=1)
    mean = total[0] / count
    variance = reduce((((x.double() - mean) ** 2) * kept).sum()[None])[0] / count
    return (((x.double() - mean) * variance.clamp(min=1e-8).rsqrt()) * kept).to(x.dtype)


def group_baseline(scores: Tensor, group_size: int, *, leave_one_out: bool, counted: Tensor | None = None) -> Tensor:
    """Return the group's mean for every completion, or the mean of the others in its group.

    Args:
        scores: ``[batch]``, groups contiguous. With discounts: the return at the first token.
        group_size: completions per group.
        leave_one_out: leave a completion out of its own baseline (RLOO).
        counted: ``[batch]`` bool, the completions whose scores count; None: all.

    Returns:
        ``[batch]``; where no other completion counts, a completion's own score.

    Raises:
        ValueError: a group of fewer than 2, or a batch that the group size does not divide.
    """
    grouped = _grouped(scores, group_size)
    weights = torch.ones_like(grouped) if counted is None else _grouped(counted, group_size).to(grouped.dtype)
    total, count = (grouped * weights).sum(1, keepdim=True), weights.sum(1, keepdim=True)
    if leave_one_out:
        total, count = total - grouped * weights, count - weights
    return torch.where(count > 0, total / count.clamp(min=1), grouped).reshape(-1)


def group_scale(scores: Tensor, group_size: int, counted: Tensor | None = None) -> Tensor:
    """Return the standard deviation (n - 1) of each completion's group plus 1e-4: GRPO's divisor.

    Args:
        scores, group_size, counted: as for ``group_baseline``.

    Returns:
        ``[batch]``; 1e-4 where fewer than 2 completions count. Source: arXiv 2402.03300.
    """
    grouped = _grouped(scores, group_size)
    if counted is None:
        deviation = grouped.std(1, keepdim=True)
    else:
        weights = _grouped(counted, group_size).to(grouped.dtype)
        count = weights.sum(1, keepdim=True)
        mean = (grouped * weights).sum(1, keepdim=True) / count.clamp(min=1)
        squares = (((grouped - mean) ** 2) * weights).sum(1, keepdim=True)
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
    return (deviation + 1e-4).expand_as(grouped).reshape(-1)


def _grouped(scores: Tensor, group_size: int) -> Tensor:
    if group_size < 2:
        raise ValueError(f"a group baseline needs at least 2 completions a prompt, got {group_size}")
    if scores.numel() % group_size:
        raise ValueError(f"{scores.numel()} completions do not divide into groups of {group_size}")
    return scores.view(-1, group_size)


def kl_estimate(log_ratio: Tensor, estimator: str) -> Tensor:
    """Return an estimate of the KL from the log-ratio of policy and reference, per token.

    Args:
        log_ratio: log-probability of the policy minus that of the reference, any shape.
        estimator: ``k1`` log-ratio (the paper's), ``k2`` half its square, ``k3`` exp(-x) - 1 + x
            (http://joschu.net/blog/kl-approx.html).

    Raises:
        ValueError: another estimator.
    """
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio**2
    if estimator == "k3":
        return torch.exp(-log_ratio) - 1 + log_ratio
    raise ValueError(f"the KL estimator must be k1, k2 or k3, got {estimator!r}")


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor, reduce: Callable[[Tensor], Tensor] = _identity) -> float:
    """1 - Var(returns - values) / Var(returns) over masked entries of all processes; nan where the returns do not vary."""
    kept = mask.double()
    count = reduce(kept.sum()[None])[0].clamp(min=1)

    def variance(x: Tensor) -> Tensor:
        mean = reduce((x * kept).sum()[None])[0] / count
        return reduce((((x - mean) ** 2) * kept).sum()[None])[0] / count

    total = variance(returns.double())
    return float("nan") if total <= 1e-12 else float(1 - variance(returns.double() - values.double()) / total)
