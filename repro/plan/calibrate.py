"""Seconds of a stage on this machine, from a measurement of a few seconds: two batches sampled, two trained on.

Measures with the project's own parts (native sampler, length-sorted chunks, AdamW) on the base model that the cell starts from, or on random
weights of its shape while there is none. Sampling is a step of the batch plus its tokens: a batch of few tokens and one of many give both
parts, so the estimate holds for batches and lengths that were not measured. What stays out, beside noise: checkpoints and tracking.

    >>> from repro.plan.cells import expand
    >>> speeds = measure(expand(["+experiment=quickstart"]).cells[0])                                          # doctest: +SKIP
"""

from __future__ import annotations

import functools
import json
import math
import random
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.plan.cells import STORED, Planned, PlannedCell
from repro.plan.workload import Work

ROWS = 128  # completions of the measured batch: a step of the micro scale
PROBE = 40  # tokens of the small batch
# Steps in which RL from the base turns short answers into searches: from 11 tokens to 59 in ten steps of the quickstart (seed 0), measured.
RAMP = 10


LINE = (
    f"a trained policy is as long as its teacher's chains; RL from the base gets there in {RAMP} steps; other load on the machine slows a run "
    "as it slowed the measurement"
)


@dataclass(frozen=True)
class Speeds:
    """Of this machine on one model.

    step: seconds that a decode step takes whatever the batch. token: seconds a sampled token adds. base_length: tokens of a free completion of
    the base model; None on random weights. sorted_training: tokens a second through forward and backward pass in chunks of similar length, as
    in RL and pre-training; padded_training: in batches as they come, as in SFT. startup: seconds of imports, once a process. took: seconds of
    the whole measurement. model: its label.
    """

    step: float
    token: float
    base_length: float | None
    sorted_training: float
    padded_training: float
    startup: float
    threads: int
    took: float
    model: str = "model"

    def sampling(self, samples: float, length: float, window: float, batch: int) -> float:
        """Seconds to sample ``samples`` completions of mean ``length`` tokens in batches; the longest of each runs to ``window``."""
        return math.ceil(samples / batch) * window * self.step + samples * length * self.token

    def line(self) -> str:
        """The measurement, for the list of assumptions."""
        base = "" if self.base_length is None else f"; the base answers in {self.base_length:z.0f} tokens"
        return (
            f"{self.model} measured here in {self.took:z.0f} s on {self.threads} thread(s): decoding {self.step * 1e3:z.1f} ms a step + "
            f"{self.token * 1e6:z.0f} us a token, training {self.sorted_training:z,.0f} tokens/s in RL, {self.padded_training:z,.0f} in SFT, "
            f"{self.startup:z.0f} s of imports{base}"
        )


@functools.cache
def imports() -> float:
    """Seconds to import what the stages need. Call it before anything else imports torch."""
    begin = time.perf_counter()
    import trl.trainer.grpo_trainer
    import trl.trainer.sft_trainer  # noqa: F401

    return time.perf_counter() - begin


def _model(cell: PlannedCell) -> tuple[Any, bool]:
    """(the model that the cell starts from, whether it is trained)."""
    import torch

    from repro.models.base import shipped
    from repro.models.load import build_micro, device_name, load_model

    micro, base = cell.config["model"]["micro"], cell.stages[0]
    if base.status == STORED and base.key:
        return load_model(Path(cell.config["paths"]["store"]).expanduser() / "pretrain" / base.key / "model"), True
    source = shipped(micro)
    if source is not None:
        return load_model(source / "model"), True
    torch.manual_seed(0)
    return build_micro(micro).to(device_name()), False


def model_of(config: dict[str, Any]) -> str:
    """What one measurement holds for: the micro model that a configuration describes."""
    return json.dumps(config["model"]["micro"], sort_keys=True)


def measure_all(cells: list[PlannedCell]) -> dict[str, Speeds]:
    """A measurement for every different model of the cells, by ``model_of``."""
    first: dict[str, PlannedCell] = {}
    for cell in cells:
        first.setdefault(model_of(cell.config), cell)
    return {key: measure(cell) for key, cell in first.items()}


def measure(cell: PlannedCell) -> Speeds:
    """Sample and train small batches on the model of a micro cell.

    Raises:
        ConfigError: the shipped base checkpoint is damaged.
    """
    startup, begin = imports(), time.perf_counter()
    import torch

    from repro.data.chains import chain
    from repro.data.world import item_rng, problems
    from repro.models import sampler
    from repro.models.load import encode_chat
    from repro.models.tokenizer import build_tokenizer
    from repro.rl.rows import ROWS as PART

    config = cell.config
    torch.set_num_threads(config["threads"])
    model, trained = _model(cell)
    tokenizer = build_tokenizer()
    vocabulary, eos = tokenizer.get_vocab(), tokenizer.eos_token_id
    window = min(config["eval"]["max_tokens"], config["model"]["micro"]["context"] - 40)
    drawn = problems("train", ROWS)
    prompts = [encode_chat(tokenizer, p.prompt()) for p in drawn]

    def sampled(starts: list[list[int]], limit: int, end: int) -> tuple[list[list[int]], float]:
        noise = sampler.uniforms([f"plan/{i}" for i in range(len(starts))], limit)
        clock = time.perf_counter()
        ids, _ = sampler.sample(model, starts, noise, stops=[end], max_tokens=limit)
        return ids, time.perf_counter() - clock

    sampled(prompts[:2], 2, eos)  # warm up
    probe = min(PROBE, window)
    step = statistics.median(sampled(prompts[:2], probe, -1)[1] for _ in range(3)) / probe  # no token is -1: the rows do not end
    free, _ = sampled(prompts, window, eos)
    searching = [[*prompt, vocabulary[f"x{random.Random(i).randrange(7)}"]] for i, prompt in enumerate(prompts)]
    long, clock = sampled(searching, window, eos)
    token = max(0.1 * clock, clock - step * max(map(len, long))) / sum(map(len, long))

    def rows(style: str) -> list[list[int]]:
        texts = [chain(p, style, item_rng(0, f"{style}/{p.id}", 0)) for p in drawn]
        return [a + tokenizer(t, add_special_tokens=False)["input_ids"] + [eos] for a, t in zip(prompts, texts, strict=True)]

    style = config["sft"].get("style") or "long"
    return Speeds(
        step=step,
        token=token,
        base_length=sum(map(len, free)) / ROWS if trained else None,
        sorted_training=_train(model, sorted(rows("long"), key=len), PART),
        padded_training=_train(model, rows(style if style != "judge" else "short"), min(ROWS, config["sft"].get("batch_size") or ROWS)),
        startup=startup,
        threads=config["threads"],
        took=time.perf_counter() - begin,
        model=config["model"]["name"],
    )


def _train(model: Any, rows: list[list[int]], chunk: int) -> float:
    """Real tokens a second of a forward pass, a backward pass and an optimizer step over ``rows`` in batches of ``chunk``, right-padded."""
    import torch
    from torch.nn.functional import cross_entropy

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    model.train()
    clock = time.perf_counter()
    for first in range(0, len(rows), chunk):
        some = rows[first : first + chunk]
        ids = torch.zeros(len(some), max(map(len, some)), dtype=torch.long, device=model.device)
        for i, row in enumerate(some):
            ids[i, : len(row)] = torch.tensor(row)
        logits = model(input_ids=ids, attention_mask=(ids != 0).long(), use_cache=False).logits
        cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0).backward()
    optimizer.step()
    optimizer.zero_grad()
    return sum(map(len, rows)) / (time.perf_counter() - clock)


def adjusted(config: dict[str, Any], stage: Planned, work: Work, speeds: Speeds) -> Work:
    """The tokens of a stage with what the measurement knows better: how long the base's completions are, and that RL from it starts there."""
    base = speeds.base_length
    if base is None or not work.samples:
        return work
    length = work.length
    if stage.of == "base":
        length = min(base, work.window)
    elif stage.kind == "rl" and config["sft"]["name"] == "none":
        length -= max(0.0, length - base) / 2 * min(1.0, RAMP / work.steps)
    trained = work.trained * (work.prompt + length) / (work.prompt + work.length)
    return replace(work, length=length, sampled=work.samples * length, trained=trained)


def seconds(config: dict[str, Any], stage: Planned, work: Work, speeds: Speeds) -> float:
    """Estimated wall time of one stage on this machine, start-up apart. work: ``adjusted``."""
    if stage.kind in ("base", "traces"):
        return work.trained / speeds.sorted_training
    if stage.kind in ("sft", "judge"):
        return work.trained / speeds.padded_training
    if stage.kind == "eval":
        batch = min(config["eval"]["batch_size"], work.samples // len(config["eval"]["benchmarks"]))
        return speeds.sampling(work.samples, work.length, work.window, batch)
    rl = config["rl"]
    updates = rl["epochs"] * rl["minibatches"]
    passes = 3.0 * rl["epochs"]  # in forward passes: a backward pass is two (repro.plan.flops)
    passes += updates > 1  # log-probabilities before the first update
    passes += rl["kl"] > 0 or rl["measure_kl"]  # those of the reference
    if rl["baseline"] == "ppo":
        passes += 3.0 * rl["epochs"] + (updates > 1)  # the critic is as large as the policy
    training = passes / 3 * (work.sampled + work.prompts) / speeds.sorted_training
    return speeds.sampling(work.samples, work.length, work.window, rl["prompts_per_step"] * rl["group_size"]) + training
