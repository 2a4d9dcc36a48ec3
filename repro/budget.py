"""What every arm's RL gets alike (``budget=samples|tokens|wall``), as far as configuration, keys, records and plan must know it.

Counting and stopping is ``repro.rl.budget``. Imports nothing heavy: the folder of a cell is named through this.
"""

from __future__ import annotations

import math
from typing import Any

DONE = 100  # step of the last policy of a run with a budget: percent of it
NEVER = 10_000_000  # steps; the clock stops a run before


def limit(budget: dict[str, Any], rl: dict[str, Any]) -> int:
    """The most steps that a run can take: with tokens, where every completion is a single one."""
    if budget["kind"] == "samples":
        return rl["steps"]
    return math.ceil(budget["tokens"] / (rl["prompts_per_step"] * rl["group_size"])) if budget["kind"] == "tokens" else NEVER


def last_step(config: dict[str, Any]) -> int:
    """What the evaluation of the last policy is labelled with."""
    return config["rl"]["steps"] if kind_of(config) == "samples" else DONE


def kind_of(config: dict[str, Any]) -> str:
    """The kind of a configuration's budget; records from before there were any had samples."""
    return config.get("budget", {}).get("kind", "samples")


def read_by_key(config: dict[str, Any]) -> dict[str, Any]:
    """What a key of RL must know of the budget: nothing where it is samples, which the steps say."""
    kind = kind_of(config)
    return {} if kind == "samples" else {"budget": {"kind": kind, "amount": amount_of(config["budget"])}}


def amount_of(budget: dict[str, Any]) -> float:
    """Tokens, or seconds."""
    return budget["tokens"] if budget["kind"] == "tokens" else 60 * budget["minutes"]


def describe(config: dict[str, Any]) -> str:
    """For people and for the guard of comparisons: ``samples``, ``tokens 500000``, ``wall 2 min``. The number of samples is a matter of rl.steps."""
    kind = kind_of(config)
    if kind == "samples":
        return kind
    return f"tokens {config['budget']['tokens']}" if kind == "tokens" else f"wall {config['budget']['minutes']:g} min"
