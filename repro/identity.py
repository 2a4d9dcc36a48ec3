"""What tells configurations apart: the key of an arm, and the folder of a cell that is made of it.

A key knows everything a row of the table depends on but the training seed, and nothing that changes no number (where the store or an endpoint
is), so equal cells of two sweeps are one and different ones are never merged, whatever they are called. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from repro import budget, parts
from repro.config import adapters, own_chains
from repro.tracking import arm_name, searches

READS = {  # what a row of the table at each stage depends on, the training seed apart; an arm is all of it
    "base": ("model", "eval", "threads"),
    "sft": ("model", "data", "sft", "peft", "eval", "threads", "launch"),
    "traces": ("traces",),
    "rl": ("scale", "model", "data", "sft", "rl", "peft", "reward", "verifier", "eval", "threads", "launch"),
}
SERVING = ("url", "api_key_env", "timeout", "retries", "concurrency")  # where a teacher is asked and how fast: part of no key


def arm_key(config: dict[str, Any], stage: str | None = None) -> str:
    """Tells configurations apart that differ in anything a stage's numbers depend on but the training seed, whatever they are called.

    ``stage``: the last one of the cell by default.
    """
    stage = stage or ("traces" if searches(config) else "rl")
    config = {**config, "sft": told_apart(config["sft"]), "eval": decoding(config["eval"])}
    read = {key: config[key] for key in READS[stage] if key != "peft"}
    if used := adapters(config, *(kind for kind in ("sft", "rl") if kind in READS[stage])):
        read["peft"] = used
    if stage == "rl" and (own := parts.sources(config)):
        read["parts"] = own
    if stage == "rl" and config["rl"]["name"] != "none":
        read |= budget.read_by_key(config)
    text = json.dumps(read, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def section(config: dict[str, Any], name: str) -> Any:
    """Return a group of a recorded configuration; records from before there were adapters have none."""
    return config.get("peft", {"name": "none"}) if name == "peft" else config[name]


def told_apart(sft: dict[str, Any]) -> dict[str, Any]:
    """What of the SFT settings changes a number; where a teacher is served does not, nor does a teacher that is not asked."""
    if own_chains(sft):
        return {key: value for key, value in sft.items() if key not in ("file", "teacher")}
    return {**sft, "teacher": {key: value for key, value in sft["teacher"].items() if key not in SERVING}}


def decoding(settings: dict[str, Any]) -> dict[str, Any]:
    """What of the evaluation's settings changes a number; what is left open does not, nor where the questions lie."""
    return {key: value for key, value in settings.items() if key != "data" and value not in (None, {})}


def cell_dir(config: dict[str, Any]) -> str:
    """Folder of a cell below its sweep: arm, key of its configuration, seed."""
    return f"{arm_name(config)}-{arm_key(config)}/seed={config['seed']}"
