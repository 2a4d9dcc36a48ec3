"""The critic of PPO: a copy of the start policy with a linear value head, trained beside the policy with its own optimizer.

As in the paper's code (fact sheet 1.1, 1.4): initialised from the policy's start checkpoint, head without bias drawn from N(0, 1/(hidden+1)),
clipped squared loss, the same cosine schedule as the policy at another peak. It is not part of the policy's module, so saving, generating
and loading the policy stay what they are without it; over several processes it is spread as the policy is (``repro.rl.spread``). With
``peft=lora`` it is an adapter of its own on the policy's frozen base.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.adapter import attach
from repro.rl import rows, spread

NAME = "critic"  # in a checkpoint


class Critic(nn.Module):
    """``values = critic(input_ids, attention_mask, count)``: ``[batch, count, 1]``, the value of the state before each of the last ``count``
    tokens."""

    def __init__(self, backbone, hidden_size: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(hidden_size, 1, bias=False)
        self._no_split_modules = backbone._no_split_modules  # the units of FSDP
        nn.init.normal_(self.head.weight, std=1 / (hidden_size + 1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, count: int) -> Tensor:
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        # The state before token t ends with token t - 1.
        return self.head(hidden[:, -count - 1 : -1])


def load_critic(path: str | Path, seed: int) -> Critic:
    """A critic from the checkpoint that the policy starts from; ``seed`` draws the head."""
    from repro.models.load import load_model

    policy = load_model(path, training=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(policy.model, policy.config.hidden_size)
    return critic.to(next(policy.parameters()).device)


def adapted_critic(body: nn.Module, settings: dict[str, Any], seed: int) -> Critic:
    """Return a critic that is an adapter of its own on the policy's base, and a head.

    Args:
        body: of ``repro.models.adapter.share``, so that policy and critic hold one base and neither switches the other's adapter.
        settings: of ``repro.config.adapter_of``.
        seed: draws adapter and head.
    """
    hidden, device = body.config.hidden_size, next(body.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        critic = Critic(body, hidden)  # first the head, so that it is the one of a critic without adapter
        attach(critic.backbone, settings)
    return critic.to(device)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float | None) -> Tensor:
    """0.5 x squared error, the larger of clipped and unclipped, token mean inside a completion, then mean over completions.

    Args:
        values, old_values, returns, mask: ``[batch, time]``. clip: range around ``old_values``; None: no clipping.
    """
    error = (values - returns) ** 2
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - returns) ** 2)
    kept = mask.to(error.dtype)
    return 0.5 * ((error * kept).sum(-1) / kept.sum(-1).clamp(min=1)).mean()


class CriticTrainer:
    """Optimizer, schedule and checkpoints of a critic.

    Args:
        steps: optimizer steps of the whole run; warmup and min_learning_rate are shares, as for the policy.
        rate: factor of the learning rate where the steps are not known beforehand (``repro.rl.budget``).
    """

    def __init__(
        self,
        critic: Critic,
        accelerator,
        settings: dict[str, Any],
        *,
        steps: int,
        warmup: int,
        max_grad_norm: float,
        rate: Callable[[int], float] | None = None,
    ) -> None:
        from transformers import get_scheduler

        def make_optimizer(parameters):
            return torch.optim.AdamW(parameters, lr=settings["learning_rate"], betas=(0.9, 0.95), weight_decay=0.0)

        self.accelerator, self.settings = accelerator, settings
        self.learner = spread.learner(critic, accelerator, make_optimizer, max_grad_norm)
        self.critic, optimizer = self.learner.model, self.learner.optimizer
        if rate is not None:
            factor = lambda step: rate(step)  # noqa: E731, PLW0108 - state_dict leaves out functions only
            self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
            return
        self.schedule = get_scheduler(
            "cosine_with_min_lr",
            optimizer,
            num_warmup_steps=warmup,
            num_training_steps=steps,
            scheduler_specific_kwargs={"min_lr_rate": settings["min_learning_rate"]},
        )

    def values(self, input_ids: Tensor, attention_mask: Tensor, mask: Tensor, size: int = rows.ROWS) -> Tensor:
        """Values of the states before the tokens of ``mask``, float32 ``[batch, time]``, 0 on padding; ``size`` rows a forward pass."""
        cut = rows.parts(input_ids, attention_mask, mask.shape[1], size)
        with self.accelerator.autocast():
            found = [self.critic(part.ids, part.attention, part.kept) for part in cut]
        return rows.join(cut, [values.squeeze(-1).float() for values in found])

    def learn(self, values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, accumulation: int = 1) -> dict[str, float]:
        """Backward pass from ``values``, and an optimizer step where the policy makes one. Returns loss and gradient norm."""
        loss = value_loss(values, old_values, returns, mask, self.settings["value_clip"])
        norm = self.learner.backward(loss / accumulation, step=accumulation == 1 or self.accelerator.sync_gradients)
        found = {"critic/loss": loss.item()}
        if norm is not None:
            found |= {"critic/grad_norm": norm, "critic/learning_rate": self.schedule.get_last_lr()[0]}
            self.schedule.step()
        return found

    def save(self, folder: Path) -> None:
        self.learner.save(folder, NAME, schedule=self.schedule.state_dict())

    def load(self, folder: Path) -> None:
        self.schedule.load_state_dict(self.learner.load(folder, NAME)["schedule"])
