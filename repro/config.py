"""The configuration of a cell: its groups (``repro.schema`` has their keys), and what is asked of a composed one.

Registered with Hydra as ``schema``, so an unknown key or a wrong type fails while composing, before any work. ``repro.validate`` refuses
impossible values and combinations. Imports nothing heavy.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from repro.bounds import seed, whole
from repro.schema import (
    BudgetConfig,
    DataConfig,
    EvalConfig,
    LaunchConfig,
    ModelConfig,
    PathsConfig,
    PeftConfig,
    ResourcesConfig,
    RewardConfig,
    RLConfig,
    SFTConfig,
    TracesConfig,
    TrackingConfig,
    VerifierConfig,
)

BUDGETS = ("samples", "tokens", "wall")
BASELINES = ("ppo", "grpo", "rloo", "reinforce_pp")
ENGINES = ("native", "transformers", "vllm_colocate", "vllm_server")
LOSSES = {"per_sample_mean": "grpo", "token_mean": "dapo", "constant": "dr_grpo"}  # our names -> TRL's


class ConfigError(ValueError):
    """A configuration that must not run. The message is one line: key, value, what is allowed."""


@dataclass
class Config:
    scale: str = MISSING
    experiment_name: str = MISSING  # names the folder of the sweep
    seed: int = seed()  # of training: data order, rollouts
    allow_contaminated: bool = MISSING  # train although prompts contain questions of the benchmarks; every report then says so
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    rl: RLConfig = field(default_factory=RLConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    verifier: VerifierConfig = field(default_factory=VerifierConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    threads: int = whole(1, 512)  # torch threads of one cell


def label(default: str, path: str | None) -> str:
    """Label of a model in tables: ``default`` for a micro model, else the last part of its path, in characters that a folder may have."""
    if path is None:
        return default
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(path).name).strip("-.")[:60] or "model"


@functools.cache
def register() -> None:
    """Tell Hydra about the schema and the resolvers of ``conf/model``, once a process; called before composing."""
    from hydra.core.config_store import ConfigStore

    from repro.hydra_versions import register_resolver

    ConfigStore.instance().store(name="schema", node=Config)
    register_resolver("label", label, replace=True)
    register_resolver("part", lambda role, path: role if path is None else None, replace=True)


def own_chains(sft: Any) -> bool:
    """Whether SFT imitates the micro world's own teacher, as it always did in records from before there were others."""
    teacher = sft.get("teacher") or {}
    return not (sft.get("file") or teacher.get("path") or teacher.get("url"))


def adapter_of(config: Any, stage: str) -> dict[str, Any] | None:
    """Return the adapter settings that affect the results of a training stage.

    Args:
        config: of a cell; one recorded before there were adapters has no such group.
        stage: ``sft`` or ``rl``.

    Returns:
        The settings, or None where the stage is off or trains all weights.
    """
    peft = config.get("peft") or {"name": "none"}
    if peft["name"] == "none" or stage not in peft["stages"] or config[stage]["name"] == "none":
        return None
    unread = ("stages",) if stage == "sft" else ("stages", "dropout")
    return {key: value for key, value in peft.items() if key not in unread}


def adapters(config: Any, *stages: str) -> dict[str, dict[str, Any]]:
    """Return the adapter settings of those of ``stages`` that train one, by stage."""
    found = {stage: adapter_of(config, stage) for stage in stages}
    return {stage: settings for stage, settings in found.items() if settings}


def reward_terms(config: DictConfig) -> dict[str, Any]:
    """The reward terms that are on, as the dataclasses of ``repro.rewards.terms``, by name."""
    nodes = {name: node for name, node in config.reward.items() if name != "name" and node is not None}
    return {name: OmegaConf.to_object(node) for name, node in nodes.items()}


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as builtin types, without Hydra's own node."""
    return OmegaConf.to_container(config, resolve=True, enum_to_str=True)
