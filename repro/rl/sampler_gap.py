"""What lies between the sampler's log-probabilities and the trainer's, and its correction.

An engine such as vLLM rounds differently than the trainer, so rollouts come from a slightly other
policy. TRL can multiply the loss by importance weights (arXiv 2508.10433 calls it truncated
importance sampling); the paper does not. The gap is logged either way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def correction_arguments(vllm: dict[str, Any]) -> dict[str, Any]:
    """Return TRL's arguments for the importance-sampling correction.

    Args:
        vllm: the section ``rl.vllm`` of the configuration.
    """
    return {
        "vllm_importance_sampling_correction": vllm["correction"] != "off",
        "vllm_importance_sampling_mode": f"{vllm['correction']}_{vllm['beyond_cap']}" if vllm["correction"] != "off" else "token_truncate",
        "vllm_importance_sampling_clip_max": vllm["correction_cap"],
        "vllm_importance_sampling_clip_min": None,
    }


def share_beyond_cap(trained: Tensor, sampled: Tensor, mask: Tensor, level: str, cap: float) -> tuple[Tensor, Tensor]:
    """Count the importance weights above the cap, which are cut or dropped.

    Args:
        trained, sampled: log-probabilities ``[batch, time]`` by trainer and sampler; NaN where the
            sampler gave none.
        mask: ``[batch, time]``, the tokens of the completions.
        level: ``token`` or ``sequence``.
        cap: the largest weight that is kept.

    Returns:
        (weights above the cap, all weights), each a scalar float64.
    """
    log_ratio = torch.nan_to_num((trained - sampled).double()) * mask
    if level == "sequence":
        above = log_ratio.sum(-1).exp() > cap
        return above.sum().double(), torch.tensor(float(len(above)), dtype=torch.float64, device=mask.device)
    above = (log_ratio.exp() > cap) & mask.bool()
    return above.sum().double(), mask.sum().double()
