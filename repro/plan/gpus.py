"""Hours of a stage on GPUs: arithmetic over peak x utilisation, decoding by memory bandwidth, and what fits into a card.

An estimate from data sheets, not a measurement: every assumption is a field of ``Assumptions``, is printed with the plan and can be given on
the command line. All GPUs sample, then all train (as with ``rl.engine=vllm_colocate``), while the paper's code gave engines, actor and critic
cards of their own; GPU-hours hardly change, the wall time of a step does. Pure functions, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from repro.config import ConfigError, adapter_of
from repro.plan import memory
from repro.plan.cells import Planned
from repro.plan.flops import Shape
from repro.plan.workload import Work


@dataclass(frozen=True)
class GPU:
    """peak: dense bfloat16 operations a second; bandwidth: bytes a second; memory: bytes."""

    peak: float
    bandwidth: float
    memory: float


# NVIDIA's data sheets (SXM cards where there are several), dense, without sparsity.
GPUS = {
    "a100-40g": GPU(312e12, 1.555e12, 40e9),
    "a100": GPU(312e12, 2.039e12, 80e9),
    "h100": GPU(989.4e12, 3.35e12, 80e9),
    "h200": GPU(989.4e12, 4.8e12, 141e9),
    "l40s": GPU(362e12, 0.864e12, 48e9),
    "a10": GPU(125e12, 0.6e12, 24e9),
}
CARDS = {"rl": 64, "sft": 8, "judge": 8, "eval": 8}  # scale=paper: cards of the released scripts (fact sheet 1.3, 1.4); eval as SFT


@dataclass(frozen=True)
class Assumptions:
    """What the estimate on GPUs assumes.

    gpu: a key of ``GPUS``. mfu: share of the peak in training and prefill. Llama 3's pre-training reached 0.38 to 0.43 on H100 (arXiv
    2407.21783, table 4); batches of unequal length reach less. mbu: share of the bandwidth in decoding; serving stacks reach 0.6 to 0.85
    (open-source-ai.tech/glossary/model-bandwidth-utilization).
    gpus: cards of every stage; None: those of the released scripts at ``scale=paper`` (64 in RL, 8 in SFT), else one.
    """

    gpu: str = "h100"
    mfu: float = 0.35
    mbu: float = 0.6
    gpus: int | None = None

    def __post_init__(self) -> None:
        if self.gpu not in GPUS:
            raise ConfigError(f"--gpu {self.gpu} is not known: choose one of {', '.join(GPUS)}")
        for name in ("mfu", "mbu"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"--{name} {getattr(self, name)} is not possible: it must be a share in (0, 1]")
        if self.gpus is not None and not 1 <= self.gpus <= 100_000:
            raise ConfigError(f"--gpus {self.gpus} is not possible: it must be at least 1")

    @property
    def card(self) -> GPU:
        return GPUS[self.gpu]

    def cards(self, config: dict[str, Any], kind: str) -> int:
        """Cards of a stage."""
        if self.gpus is not None:
            return self.gpus
        return CARDS.get(kind, 1) if config["scale"] == "paper" else config["launch"]["processes"] or 1

    def lines(self) -> list[str]:
        card = self.card
        return [
            f"{self.gpu}: {card.peak / 1e12:z.0f} TFLOP/s dense bf16, {card.bandwidth / 1e12:z.2f} TB/s, {card.memory / 1e9:z.0f} GB "
            "(NVIDIA data sheet); --gpu",
            f"training and prefill at {self.mfu:z.0%} of the peak (Llama 3: 38-43 %, batches of equal length); --mfu",
            f"decoding at {self.mbu:z.0%} of the bandwidth (serving stacks: 60-85 %); --mbu",
            "all cards sample, then all train; no time for loading, weight transfer, scoring, checkpoints and failures: the one published PPO run "
            "with known hours (SimpleRL, 7B, 32 cards, 1.5 days) took three times what this gives for A100",
        ]


@dataclass(frozen=True)
class Cost:
    """Of one stage. seconds: wall time; parts: seconds by activity; memory: bytes of one card by part; peak: bytes at once; fits: in the card;
    together: sequences that decode side by side on a card. instead: where it does not fit, peak bytes under the other ways to launch."""

    gpus: int
    seconds: float
    parts: dict[str, float]
    memory: dict[str, float]
    peak: float
    fits: bool
    together: float = 0.0
    instead: dict[str, float] = field(default_factory=dict)

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.seconds / 3600


def decoding(
    shape: Shape, assumed: Assumptions, gpus: int, *, samples: float, length: float, longest: float, prompt: float, together: float
):
    """Wall seconds to sample ``samples`` completions on ``gpus`` cards, ``together`` at a time on each.

    A step of a card reads the weights once and the KV cache of what is running, and computes one token a sequence; the slower of the two
    counts. The last completion runs to ``longest`` tokens alone, so no batch is faster than that many steps of one sequence.
    """
    card = assumed.card
    speed = assumed.mbu * card.bandwidth
    step = (2 * shape.parameters + together * memory.kv_cache(shape, prompt + length / 2)) / speed
    step = max(step, together * shape.forward(1, prompt + length / 2) / (assumed.mfu * card.peak))
    prefill = samples * shape.forward(prompt, (prompt + 1) / 2, logits=1) / (assumed.mfu * card.peak * gpus)
    alone = longest * 2 * shape.parameters / speed
    return prefill + max(samples * length / (gpus * together) * step, alone)


def footprint(
    shape: Shape, config: dict[str, Any], kind: str, work: Work, gpus: int, card: GPU, sharding: str
) -> tuple[dict[str, float], float, float]:
    """(bytes of one card by part, the largest sum at once, sequences that decode side by side).

    Training of one GPU's forward pass; on GPUs the trainer always recomputes activations (``repro.training``).
    """
    usable = card.memory * (1 - memory.RESERVE)
    if kind == "eval":
        parts = {"weights": 2.0 * shape.parameters}
        wanted = min(config["eval"]["batch_size"], max(1, work.samples / gpus))
        together = memory.concurrent(shape, usable - parts["weights"], work.prompt + work.length, wanted)
        parts["KV cache"] = memory.kv_cache(shape, (work.prompt + work.length) * together)
        return parts, sum(parts.values()), together
    if kind != "rl":
        rows = config["sft"]["batch_size"] if kind != "base" else config["model"]["micro"]["batch_size"]
        # Outside the micro world a forward pass takes one sequence, as the paper's scripts do; the trainer of this project takes its share.
        tokens = work.longest * (max(1, rows // gpus) if config["model"]["path"] is None else 1)
        adapter = memory.adapter_of(shape, adapter_of(config, kind)) if kind == "sft" else None
        parts = memory.training(shape, sharding, gpus, tokens=tokens, adapter=adapter)
        return parts, sum(parts.values()), 0.0
    rl = config["rl"]
    batch = rl["prompts_per_step"] * rl["group_size"]
    share, adapter = max(1, batch // (gpus * rl["minibatches"])), memory.adapter_of(shape, adapter_of(config, kind))
    parts = memory.training(
        shape,
        sharding,
        gpus,
        tokens=work.longest * min(rl["micro_batch_size"] or share, share),
        logits=0,
        critic=rl["baseline"] == "ppo",
        reference=rl["kl"] > 0 or rl["measure_kl"],
        adapter=adapter,
    )
    resident = sum(parts.values()) - parts["activations"]
    wanted = max(1, batch // gpus)
    if rl["engine"] == "native":  # samples with the training weights, a cache of the whole window for all of them
        parts["KV cache"] = memory.kv_cache(shape, (work.prompt + work.window) * wanted)
        if adapter is not None:  # the sums of weights and adapter, in bfloat16
            parts["rollout weights"] = 2.0 * shape.parameters
        return parts, resident + max(parts["activations"], parts["KV cache"] + parts.get("rollout weights", 0.0)), wanted
    parts["rollout weights"] = 2.0 * shape.parameters
    free = usable - resident - parts["rollout weights"]
    together = memory.concurrent(shape, free, work.prompt + work.length, wanted)
    parts["KV cache"] = memory.kv_cache(shape, (work.prompt + work.length) * together)
    return parts, resident + max(parts["activations"], parts["rollout weights"] + parts["KV cache"]), together


def cost(config: dict[str, Any], stage: Planned, work: Work, shape: Shape, assumed: Assumptions) -> Cost | None:
    """Time and memory of one stage; None for a base model that is only loaded, and for the search of a corpus."""
    if stage.kind == "traces" or (stage.kind == "base" and work.trained == 0):
        return None
    gpus, card, sharding = assumed.cards(config, stage.kind), assumed.card, config["launch"]["name"]
    usable = card.memory * (1 - memory.RESERVE)
    parts, peak, together = footprint(shape, config, stage.kind, work, gpus, card, sharding)
    fits = peak <= usable and (together > 0 or work.samples == 0)
    instead = {}
    if not fits and stage.kind != "eval" and adapter_of(config, stage.kind) is None:  # an adapter is never spread
        for other in memory.SHARDINGS[2:]:
            if other != sharding:
                instead[other] = footprint(shape, config, stage.kind, work, gpus, card, other)[1]
    rate = assumed.mfu * card.peak * gpus
    seconds: dict[str, float] = {}
    if work.samples:
        # Where the training states leave no room, the time is that of an engine that has the card to itself while it samples.
        wanted = max(1, work.samples / max(1, work.steps) / gpus)
        alone = memory.concurrent(shape, usable - 2.0 * shape.parameters, work.prompt + work.length, wanted)
        side = together or max(1.0, alone)
        batches = work.steps if stage.kind == "rl" else 1
        each = decoding(
            shape,
            assumed,
            gpus,
            samples=work.samples / batches,
            length=work.length,
            longest=work.window,
            prompt=work.prompt,
            together=side,
        )
        seconds["sampling"] = each * batches
    if work.trained:
        seconds |= _training(config, stage, work, shape, work.prompt + work.length, rate)
    return Cost(gpus, sum(seconds.values()), seconds, parts, peak, fits, together, instead)


def _training(config: dict[str, Any], stage: Planned, work: Work, shape: Shape, row: float, rate: float) -> dict[str, float]:
    """Seconds by activity; ``row``: tokens of a sequence; ``rate``: operations a second of all cards."""
    context = (row + 1) / 2
    adapter = memory.adapter_of(shape, adapter_of(config, stage.kind)) if stage.kind in ("sft", "rl") else None
    trained = None if adapter is None else adapter.parameters
    if stage.kind != "rl":
        return {"training": shape.train(work.trained, context, checkpointing=True, adapter=trained) / rate}
    rl = config["rl"]
    once = work.sampled + work.prompts  # tokens of all rollouts, gone through one time
    forward, train = shape.forward(once, context) / rate, shape.train(work.trained, context, checkpointing=True, adapter=trained) / rate
    seconds = {"training": train}
    if rl["epochs"] * rl["minibatches"] > 1:
        seconds["old log-probabilities"] = forward
    if rl["kl"] > 0 or rl["measure_kl"]:
        seconds["reference"] = forward
    if rl["baseline"] == "ppo":
        values = shape.forward(once, context, logits=0) / rate
        seconds["critic"] = values + shape.train(work.trained, context, checkpointing=True, logits=0, adapter=trained) / rate
    return seconds
