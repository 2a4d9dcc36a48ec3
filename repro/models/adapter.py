"""Low-rank adapters (LoRA, arXiv 2106.09685) on a frozen base, by the library ``peft``: what SFT, RL and the sampler share.

The trainers of TRL wrap the model themselves, by ``lora``. A layer then computes ``W x + alpha / rank * B A x`` with B = 0 at the start, so the
first step's policy is the base to the bit. What is saved for others is the sum (``merged``), a plain checkpoint in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

ALL = "all-linear"
# Linear layers of Llama and Qwen2, without the output embedding.
LINEAR = (*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))


def refuse_unknown(targets: str | Iterable[str], known: Iterable[str]) -> None:
    """Refuse names of layers that a model does not have.

    Args:
        targets: ``all-linear`` or names, as ``peft.target_modules`` gives them.
        known: names of the model's linear layers, with or without what they are inside of.

    Raises:
        ConfigError: the first name that none of them ends with.
    """
    if targets == ALL:
        return
    names = list(known)
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            last = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise ConfigError(f"peft.target_modules: the model has no linear layer {target!r}; choose from {last}, or {ALL}")


def check(folder: Path, targets: str | Iterable[str]) -> None:
    """Refuse layers that the checkpoint in ``folder`` does not have, from its ``config.json``; no weights are read.

    Raises:
        ConfigError: an unknown layer, or a checkpoint whose architecture the library does not know.
    """
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(folder)))
    except Exception as error:  # the library raises whatever its parsers raise
        raise ConfigError(f"model.path={str(folder)!r} has no architecture to adapt: {error!s:.200}".splitlines()[0]) from None
    head = model.get_output_embeddings()
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    refuse_unknown(targets, layers)


def lora(settings: dict[str, Any], *, causal: bool = True) -> Any:
    """Return the library's configuration of an adapter.

    Args:
        settings: of ``repro.config.adapter_of``.
        causal: the adapter is of a language model, not of the body beneath a value head.
    """
    from peft import LoraConfig

    targets = settings["target_modules"]
    return LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings.get("dropout", 0.0),
        target_modules=targets if targets == ALL else list(targets),
        bias="none",
        task_type="CAUSAL_LM" if causal else None,
    )


def base_of(model: nn.Module) -> nn.Module:
    """Return the language model inside of an adapted one, with the adapted layers in it; any other model as it is."""
    return model.get_base_model() if is_adapted(model) else model


def is_adapted(model: nn.Module) -> bool:
    """Return whether the model is one that the library has wrapped."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def share(body: nn.Module) -> nn.Module:
    """Return a copy of a module tree that shares its parameters, so that it can have an adapter of its own."""
    return copy.deepcopy(body, memo={id(parameter): parameter for parameter in body.parameters()})


def attach(body: nn.Module, settings: dict[str, Any]) -> nn.Module:
    """Freeze a body without output embedding, put an adapter into its layers, and return it.

    The adapter's weights are float32 and drawn from torch's random numbers.
    """
    from peft import get_peft_model

    return get_peft_model(body, lora(settings, causal=False)).get_base_model()


def weight_of(layer: nn.Module) -> Tensor:
    """Return the weight of a linear layer with its adapter's product added, in float32; of a plain layer the weight itself."""
    if not hasattr(layer, "get_delta_weight"):
        return layer.weight
    (name,) = layer.active_adapters
    return layer.weight.float() + layer.get_delta_weight(name).float()


def adapted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that have an adapter, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}


def merged(model: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a plain model of the adapted one's class, without memory, and the weights to save with it, in float32."""
    import torch

    base = base_of(model)
    layers, weights = adapted_layers(base), {}
    for name, value in base.state_dict().items():
        owner = next((path for path in layers if name.startswith(f"{path}.")), None)
        rest = name.removeprefix(f"{owner}.")
        if owner is None:
            weights[name] = value.float()
        elif rest == "base_layer.weight":
            weights[f"{owner}.weight"] = weight_of(layers[owner]).detach()
        elif rest.startswith("base_layer."):
            weights[f"{owner}.{rest.removeprefix('base_layer.')}"] = value.float()
    with torch.device("meta"):
        plain = type(base)(copy.deepcopy(base.config))
    plain.generation_config = base.generation_config
    return plain, weights


def keep_base_exact(model: nn.Module) -> None:
    """Make ``merge_adapter`` and ``unmerge_adapter`` of an adapted model leave the base's bits as they were.

    TRL merges before it sends weights to an engine and takes the product away again. The library subtracts what it added, which rounds: the base,
    and with it the reference, would drift with every rollout, and a resumed run, which reads the base from its checkpoint, would part from an
    undisturbed one. Here the base's weights wait in the memory of the CPU.
    """
    import torch

    kept: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def merge_adapter() -> None:
        for layer in adapted_layers(model).values():
            weight = layer.weight
            sum_ = weight_of(layer)
            kept.append((weight, weight.detach().to("cpu", copy=True)))
            weight.copy_(sum_)

    @torch.no_grad()
    def unmerge_adapter() -> None:
        while kept:
            weight, before = kept.pop()
            weight.copy_(before)

    model.merge_adapter, model.unmerge_adapter = merge_adapter, unmerge_adapter


def sizes(model: nn.Module) -> dict[str, int]:
    """Return the numbers of parameters for a manifest: all, and those that are trained."""
    counts = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]  # DeepSpeed leaves none in p
    return {"all": sum(count for count, _ in counts), "trained": sum(count for count, trained in counts if trained)}
