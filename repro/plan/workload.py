"""Tokens of a stage: what is sampled, what is trained on, what is scored.

Where the micro world makes the data, its lengths are measured on a draw of it. Elsewhere they are assumptions, printed with the plan and to
be overridden; the length of an RL run's completions is what the run is about, so the plan also states the bound of full windows.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, replace
from typing import Any

from evals.harness import samples_of
from repro.budget import kind_of
from repro.config import own_chains
from repro.plan.cells import Planned
from repro.tracking import searches

DRAWN = 256  # problems of the draw

# Tokens of a distilled response: tokens that the paper quotes for its largest sets over their released rows (fact sheet 1.2: 3.5B tokens of
# QwQ on 1.14M rows; 1.5B of Qwen-72B on 1.53M rows), with the doubt whether the paper counts both epochs.
PUBLISHED_LENGTH = {"long": 3.5e9 / 1.14e6, "short": 1.5e9 / 1.53e6}
LONGEST = {"long": 8192, "short": 4096}  # sampling limits of the distillation (paper, appendix E.2)
PROMPT = 100  # tokens of a MATH problem with chat template: an assumption; --prompt-tokens


@dataclass(frozen=True)
class Work:
    """One stage. All counts are tokens but ``samples`` (completions), ``steps`` (rollout batches, or optimizer steps of SFT), ``updates``
    (optimizer steps in all).

    sampled, prompts: generated tokens, and prompt tokens before them. trained: tokens through forward and backward pass, all epochs. length,
    window: mean and largest number of tokens of a completion. longest: tokens of the longest sequence trained on.
    """

    samples: int = 0
    sampled: float = 0.0
    prompts: float = 0.0
    trained: float = 0.0
    steps: int = 0
    updates: int = 0
    length: float = 0.0
    window: int = 0
    longest: float = 0.0
    prompt: float = 0.0


def scaled(work: Work, steps: int) -> Work:
    """The same stage with another number of steps."""
    share = steps / work.steps
    counts = {"samples": round(work.samples * share), "steps": steps, "updates": round(work.updates * share)}
    return replace(work, **counts, sampled=work.sampled * share, prompts=work.prompts * share, trained=work.trained * share)


@dataclass(frozen=True)
class Lengths:
    """Assumed tokens: of a prompt, of a completion (None: by the style of SFT)."""

    prompt: float | None = None
    completion: float | None = None


@functools.cache
def micro_lengths(style: str, data: str) -> tuple[float, float, float]:
    """(prompt, response, longest sum) in tokens of the micro world's problems and chains of ``style``, from a draw; EOS counted.

    ``data``: what is drawn from, as JSON of ``repro.config.DataConfig``; mixtures by their weights.
    """
    from repro.data.chains import chain
    from repro.data.web import train_items
    from repro.data.world import item_rng

    settings = json.loads(data)
    seed, drawn = settings["seed"], [item.problem for _, item in train_items(settings)]
    prompts = [len(p.prompt().split()) + 2 for p in drawn]  # and the two role tokens
    if style == "judge":
        from repro.data.judge import example

        pairs = [example(p, item_rng(seed, f"{style}/{p.id}", 0)) for p in drawn]
        prompts, responses = (
            [len(text.split()) + extra for text in texts] for texts, extra in zip(zip(*pairs, strict=True), (2, 1), strict=True)
        )
    else:
        responses = [len(chain(p, style, item_rng(seed, f"{style}/{p.id}", 0)).split()) + 1 for p in drawn]
    return sum(prompts) / len(drawn), sum(responses) / len(drawn), max(map(sum, zip(prompts, responses, strict=True)))


def expected_lengths(config: dict[str, Any], style: str, lengths: Lengths, rl: bool = False) -> tuple[float, float, float]:
    """(prompt, completion, longest sequence) in tokens for chains of ``style``. ``rl``: on the prompts of RL, not those of SFT."""
    if config["model"]["path"] is None:
        from repro.data.web import rl_data

        data = rl_data(config["data"]) if rl else config["data"]
        read = {key: data[key] for key in ("split", "seed", "file", "mixture", "mixture_by")}
        prompt, response, longest = micro_lengths(style, json.dumps({**read, "rl": None, "train_size": min(DRAWN, data["train_size"])}))
    else:
        kind = "short" if style in ("short", "direct") else "long"
        prompt, response = PROMPT, PUBLISHED_LENGTH[kind]
        longest = PROMPT + LONGEST[kind]
    return lengths.prompt or prompt, lengths.completion or response, longest


def questions(name: str, wanted: int) -> int:
    """Questions of a benchmark that are scored: at most what the published set has; the micro world's have no end."""
    from evals.benchmarks import BENCHMARKS

    return min(wanted, getattr(BENCHMARKS[name], "count", wanted))


def of_stage(config: dict[str, Any], stage: Planned, lengths: Lengths) -> Work:
    """The tokens of one stage of a cell.

    Completions of a policy trained by RL, or by SFT on long chains, are taken as long as the long chains are; those of SFT on short chains as
    long as short ones; those of the micro base model are measured (``repro.plan.calibrate``), elsewhere they count as short.
    """
    sft, rl, evaluation = config["sft"], config["rl"], config["eval"]
    micro = config["model"]["path"] is None
    style = sft.get("style") or "long"
    if stage.kind == "base":
        made = config["model"]["micro"] if micro else None
        if not made or made["shipped"]:
            return Work()
        steps = made["skill_steps"] + made["mixture_steps"]
        prompt, response, longest = expected_lengths(config, "long", Lengths())
        trained = steps * made["batch_size"] * (prompt + response)
        return Work(trained=trained, steps=steps, updates=steps, length=response, longest=longest, prompt=prompt)
    if stage.kind == "traces":
        return Work()
    if stage.kind in ("sft", "judge"):
        if stage.kind == "judge":
            from repro.data.judge import EPOCHS

            style, sft = "judge", {**sft, "epochs": EPOCHS}
        prompt, response, longest = expected_lengths(config, style, Lengths(prompt=lengths.prompt))
        rows = config["data"]["train_size"] * sft["samples_per_problem"]
        steps = math.ceil(rows / sft["batch_size"]) * sft["epochs"]
        trained = rows * sft["epochs"] * min(prompt + response, sft["max_length"])
        longest = min(longest, sft["max_length"])
        return Work(trained=trained, steps=steps, updates=steps, length=response, longest=longest, prompt=prompt)
    if stage.kind == "rl":
        prompt, response, _ = expected_lengths(config, "long", lengths, rl=True)
        window = rl["max_completion_length"]
        length, batch = min(response, window), rl["prompts_per_step"] * rl["group_size"]
        steps = rl["steps"] if kind_of(config) != "tokens" else math.ceil(config["budget"]["tokens"] / (batch * length))
        samples = steps * batch
        return Work(
            samples=samples,
            sampled=samples * length,
            prompts=samples * prompt,
            trained=samples * rl["epochs"] * (prompt + length),
            steps=steps,
            updates=steps * rl["epochs"] * rl["minibatches"],
            length=length,
            window=window,
            longest=prompt + window,
            prompt=prompt,
        )
    trained_by = {"base": "short", "sft": style, "rl": "long"}[stage.of]
    prompt, response, _ = expected_lengths(config, trained_by, lengths)
    window = evaluation["max_tokens"]
    length = min(response, window)
    samples = sum(questions(name, evaluation["questions"]) * samples_of(evaluation, name) for name in evaluation["benchmarks"])
    return Work(
        samples=samples,
        sampled=samples * length,
        prompts=samples * prompt,
        length=length,
        window=window,
        longest=prompt + window,
        prompt=prompt,
    )


def left_out(config: dict[str, Any]) -> list[str]:
    """What a cell does that the figures do not count, one line each."""
    teacher = config["sft"]["name"] != "none" and not own_chains(config["sft"])
    lines = {
        "the time that a judge takes for its judgements is not in it": config["verifier"].get("kind") == "judge",
        "chains of a teacher or a file are taken as there: distilling them (sft_data) is not in it": teacher,
        "the search of a corpus (traces) takes no GPU, and its time is not in it": searches(config),
    }
    return [line for line, so in lines.items() if so]
