"""Memory of one GPU, by part: weights, gradients, optimizer, activations, KV cache, critic, reference.

Model states follow the ZeRO paper (Rajbhandari et al. 2020, arXiv 1910.02054, section 3 and figure 1): with Adam and mixed precision 16 bytes
a parameter, of which each stage spreads more over the GPUs. Activations are those that this project's models save for the backward pass, taken
tensor by tensor with autograd's hooks (``tests/plan/test_memory.py`` takes them again), not the GPT formula of Korthikanti et al. 2022, which
has another MLP. Fragmentation, CUDA context and communication buffers of the libraries are not in it; ``RESERVE`` stands for them. Pure
functions, bytes throughout, no torch.

    >>> from repro.plan.flops import SHAPES
    >>> kv_cache(SHAPES["Llama-3.1-8B"], 16384) / 2**30   # bf16, one sequence, GiB
    2.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from repro.plan.flops import Shape

GIB = 2**30
SHARDINGS = ("single", "ddp", "zero2", "zero3", "fsdp")  # the choices of conf/launch
RESERVE = 0.1  # share of the card left to context, buffers and fragmentation, as vLLM's default gpu_memory_utilization=0.9 leaves
BUCKET = 500_000_000  # DeepSpeed reduce_bucket_size, elements: its documentation's default
MAX_LIVE = 1_000_000_000  # DeepSpeed stage3_max_live_parameters: its documentation's default


@dataclass(frozen=True)
class Adapter:
    """What of a low-rank adapter counts. parameters: of one in all layers; ranks: of one in a layer, summed; half: its base is bfloat16."""

    parameters: int
    ranks: int
    half: bool


def adapter_of(shape: Shape, settings: dict[str, Any] | None) -> Adapter | None:
    """Return the adapter that a training stage has.

    Args:
        shape: of the base.
        settings: of ``repro.config.adapter_of``.

    Raises:
        ConfigError: the model has no layers of these names.
    """
    from repro.models.adapter import ALL, LINEAR, refuse_unknown

    if settings is None:
        return None
    targets, rank = settings["target_modules"], settings["rank"]
    refuse_unknown(targets, LINEAR)
    names = shape.linear if targets == ALL else {target.rpartition(".")[2] for target in targets}
    width = sum(sum(shape.linear[name]) for name in names)
    return Adapter(shape.layers * rank * width, rank * len(names), settings["base_dtype"] == "bfloat16")


def adapted_states(shape: Shape, adapter: Adapter) -> dict[str, float]:
    """Return the bytes of a frozen base and a trained adapter on one GPU; the parts are those of ``states``.

    The adapter is float32 with bfloat16 casts. Those of a float32 base live as long as a layer, or the output embedding, computes.
    """
    a, base = adapter.parameters, 2 if adapter.half else 4
    casts = 0 if adapter.half else 2 * max(shape.layer_parameters, shape.vocabulary * shape.hidden)
    return {"weights": base * shape.parameters + 4 * a, "gradients": 4 * a, "optimizer": 8 * a, "working copies": 2 * a + casts}


def states(parameters: float, sharding: str, gpus: int, *, largest: float = 0.0, always: float = 0.0) -> dict[str, float]:
    """Bytes of weights, gradients, optimizer state and working copies on one GPU while training with AdamW in mixed precision.

    Args:
        parameters: of the model.
        sharding: ``single`` or ``ddp``: everything on each GPU, float32 with bfloat16 casts (autocast); ``zero2``: bfloat16 weights on each,
            gradients, float32 weights and moments spread; ``zero3``: all spread; ``fsdp``: float32 shards, a layer gathered at a time.
        gpus: over which the states are spread.
        largest: parameters of the largest unit that is gathered at a time (fsdp: a layer).
        always: parameters that stay gathered (fsdp: embeddings).

    Raises:
        ValueError: unknown sharding, fewer than one GPU.
    """
    if sharding not in SHARDINGS or gpus < 1:
        raise ValueError(f"sharding {sharding!r} over {gpus} GPUs: choose one of {', '.join(SHARDINGS)} and at least one GPU")
    p = parameters
    if sharding in ("single", "ddp"):
        return {"weights": 4 * p, "gradients": 4 * p, "optimizer": 8 * p, "working copies": 2 * p}
    if sharding == "zero2":
        return {"weights": 2 * p, "gradients": 2 * p / gpus, "optimizer": 12 * p / gpus, "working copies": 2 * min(p, BUCKET)}
    if sharding == "zero3":
        return {"weights": 2 * p / gpus, "gradients": 2 * p / gpus, "optimizer": 12 * p / gpus, "working copies": 2 * min(p, MAX_LIVE)}
    working = 2 * min(p, always + 2 * largest)  # the next layer is gathered while one computes
    return {"weights": 4 * p / gpus, "gradients": 4 * p / gpus, "optimizer": 8 * p / gpus, "working copies": working}


def frozen(parameters: float, sharding: str, gpus: int) -> float:
    """Bytes of a model that is only read (the reference): as the trainer loads it, without gradients and optimizer."""
    return states(parameters, sharding, gpus)["weights"]


def layer_activations(shape: Shape, *, half: bool = True) -> float:
    """Bytes that one layer saves for its backward pass, a token, with fused attention (no scores kept).

    half: bfloat16 by autocast; otherwise float32. Per token: the residual stream and the norms' float32 copies, query, key, value and attention
    output, four tensors of the MLP's width, and a float32 a head of the attention.
    """
    h, kv, f = shape.hidden, shape.kv_heads * shape.size, shape.intermediate
    if half:
        return 30 * h + 4 * kv + 8 * f + 4 * shape.heads + 8
    return 32 * h + 8 * kv + 16 * f + 4 * shape.heads + 8


def activations(
    shape: Shape,
    tokens: float,
    *,
    checkpointing: bool,
    half: bool = True,
    logits: float | None = None,
    adapter: Adapter | None = None,
) -> float:
    """Bytes that a forward pass of ``tokens`` tokens leaves for the backward pass.

    checkpointing: only the input of every layer (float32, the residual stream) is kept, and one layer at a time is computed again. logits:
    tokens whose logits are computed (None: all): bfloat16, their float32 copy and its gradient; float32 and gradient where not half. adapter: what
    is between its two matrices is kept too, at most; on a base in bfloat16 the residual stream is so.
    """
    layer = layer_activations(shape, half=half) + (0 if adapter is None else (2 if half else 4) * adapter.ranks)
    stream = 2 if half and adapter is not None and adapter.half else 4
    body = stream * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers
    return tokens * body + (tokens if logits is None else logits) * shape.vocabulary * (10 if half else 8)


def kv_cache(shape: Shape, tokens: float, *, bytes_each: int = 2) -> float:
    """Bytes of keys and values of ``tokens`` tokens. ``bytes_each``: 2 for bfloat16, 4 for float32."""
    return 2 * shape.layers * shape.kv_heads * shape.size * tokens * bytes_each


def training(
    shape: Shape,
    sharding: str,
    gpus: int,
    *,
    tokens: float,
    logits: float | None = None,
    checkpointing: bool = True,
    critic: bool = False,
    reference: bool = False,
    adapter: Adapter | None = None,
) -> dict[str, float]:
    """Bytes by part on one GPU in a training step; ``tokens``: in one forward pass of one GPU. The critic is trained like the policy.

    logits: as for ``activations``; 0 in RL, where TRL makes log-probabilities a piece of the vocabulary at a time. adapter: what is trained of policy
    and critic, which share the base with the reference (``single`` and ``ddp`` only).
    """
    if adapter is not None:
        parts = adapted_states(shape, adapter)
        parts["activations"] = activations(shape, tokens, checkpointing=checkpointing, logits=logits, adapter=adapter)
        if critic:
            parts["critic"] = 18.0 * (adapter.parameters + shape.hidden)  # and its head: weights, gradients, moments, casts
        return parts
    spread = {"largest": shape.layer_parameters, "always": shape.embedding_parameters}
    parts = states(shape.parameters, sharding, gpus, **spread)
    parts["activations"] = activations(shape, tokens, checkpointing=checkpointing, logits=logits)
    if critic:
        parts["critic"] = sum(states(shape.critic_parameters, sharding, gpus, **spread).values())
        # Policy and critic go backward one after the other where there are several updates; the larger set of activations counts.
    if reference:
        parts["reference"] = frozen(shape.parameters, sharding, gpus)
    return parts


def concurrent(shape: Shape, free: float, length: float, wanted: float) -> float:
    """Sequences of ``length`` tokens that decode side by side on one GPU with ``free`` bytes for their KV cache, at most ``wanted``; 0 if
    not one fits."""
    return float(min(wanted, max(0.0, free) // kv_cache(shape, length)))
