"""Models over several processes: the critic and the reference beside the policy, whole weights for the native sampler, checkpoints.

Under FSDP2 every layer is a unit of its own, for the critic and the reference as accelerate does it for the policy. TRL makes one unit of the
reference, so that all of it would be gathered at once, and leaves it zero in all processes but the first of a node, since that one alone
reads the weights. Under DeepSpeed the critic has an engine of its own, since accelerate takes one model. FSDP2 runs on CPUs too, which is
how it is tested: ``python -m repro launch=fsdp launch.processes=2``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import fsdp2_prepare_model
from torch import Tensor, nn


def frozen(model: nn.Module, accelerator) -> nn.Module:
    """A model that is only read, under FSDP2. Takes the place of TRL's ``prepare_fsdp``."""
    return fsdp2_prepare_model(accelerator, model.requires_grad_(False)).eval()


@contextmanager
def whole(model: nn.Module) -> Iterator[nn.Module]:
    """All weights of a model that FSDP2 or ZeRO-3 has spread, in every process for as long as the context lasts."""
    from torch.distributed.fsdp import FSDPModule

    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters())):
            yield model
        return
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
    try:
        yield model
    finally:
        for unit in units:
            unit.reshard()


class Learner:
    """A model that is trained beside the policy, spread as the launch says, with its optimizer.

    Args:
        make_optimizer: from the parameters of the model as it is spread, of which frozen ones are neither trained nor saved.
        max_grad_norm: to which gradients are clipped.
    """

    def __init__(
        self, model: nn.Module, accelerator, make_optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer], max_grad_norm: float
    ) -> None:
        self.accelerator, self.max_grad_norm = accelerator, max_grad_norm
        self.model = fsdp2_prepare_model(accelerator, model) if accelerator.is_fsdp2 else accelerator.prepare_model(model)
        self.optimizer = make_optimizer([p for p in self.model.parameters() if p.requires_grad])

    def backward(self, loss: Tensor, *, step: bool) -> float | None:
        """Backward pass, and if ``step`` a step of the optimizer; then returns the norm of the gradients before clipping."""
        loss.backward()
        if not step:
            return None
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _options(self, **more: bool):
        from torch.distributed.checkpoint.state_dict import StateDictOptions

        adapted = any(not p.requires_grad for p in self.model.parameters())
        frozen = {"ignore_frozen_params": True, "strict": False} if adapted else {}
        return StateDictOptions(full_state_dict=True, **frozen, **(more if self.accelerator.num_processes > 1 else {}))

    def save(self, folder: Path, name: str, **more: Any) -> None:
        """Model, optimizer and what else is given to ``folder/name.pt``, the same for any number of processes; all of them take part."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        weights, moments = get_state_dict(self.model, self.optimizer, options=self._options(cpu_offload=True))
        if self.accelerator.is_main_process:
            torch.save({"model": weights, "optimizer": moments, **more}, folder / f"{name}.pt")

    def load(self, folder: Path, name: str) -> dict[str, Any]:
        """Undo ``save``; returns what else was saved. The first process reads the weights."""
        from torch.distributed.checkpoint.state_dict import set_model_state_dict, set_optimizer_state_dict

        state = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True, mmap=True)
        weights, moments = state.pop("model"), state.pop("optimizer")
        if not self.accelerator.is_main_process:
            weights, moments = {}, {}
        options = self._options(broadcast_from_rank0=True)
        set_model_state_dict(self.model, weights, options=options)
        set_optimizer_state_dict(self.model, self.optimizer, moments, options=options)
        return state


class DeepSpeedLearner(Learner):
    """The same with an engine of its own, by the settings that accelerate and the trainer made for the policy."""

    def __init__(self, model, accelerator, make_optimizer, max_grad_norm) -> None:
        import deepspeed

        settings = copy.deepcopy(accelerator.state.deepspeed_plugin.deepspeed_config)
        settings["gradient_clipping"] = max_grad_norm
        optimizer = make_optimizer(model.parameters())
        self.model, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
        self.optimizer = optimizer

    def backward(self, loss: Tensor, *, step: bool) -> float | None:
        self.model.set_gradient_accumulation_boundary(is_boundary=step)
        self.model.backward(loss, scale_wrt_gas=False)
        self.model.step()
        return float(self.model.get_global_grad_norm()) if step else None

    def save(self, folder: Path, name: str, **more: Any) -> None:
        self.model.save_checkpoint(folder / name, client_state=more)

    def load(self, folder: Path, name: str) -> dict[str, Any]:
        return self.model.load_checkpoint(folder / name)[1]


def learner(model: nn.Module, accelerator, make_optimizer, max_grad_norm: float) -> Learner:
    """The learner for this launch."""
    kind = Learner if accelerator.state.deepspeed_plugin is None else DeepSpeedLearner
    return kind(model, accelerator, make_optimizer, max_grad_norm)
