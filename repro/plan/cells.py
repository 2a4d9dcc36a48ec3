"""The cells of a command line, and the stages of each.

Expands the line as Hydra's basic sweeper would (parameters of the experiment first, then those of the line, the last of a key wins, cartesian
product) without starting it. A stage's *identity* follows from the configuration alone and is enough to count a stage that several cells
share once; its key in the store, which needs the checksums of its inputs, is ``repro.plan.lookup``'s business.

    >>> [len(cell.stages) for cell in expand(["+experiment=quickstart"]).cells]   # base, its evaluation, RL, three evaluations
    [6]
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from repro import arguments
from repro.budget import kind_of, last_step, read_by_key
from repro.config import ConfigError, adapter_of, plain, register
from repro.hydra_versions import VERSION_BASE
from repro.sweep.overrides import hand_to_cells, is_deep, parsed, where_they_apply
from repro.sweep.whole import check_cell, check_choices
from repro.tracking import searches
from repro.validate import validate

CONF = Path(__file__).parents[2] / "conf"
NEW, SHARED, STORED, BEGUN, UNKNOWN = "new", "shared", "in the store", "begun", "unknown"


@dataclass(frozen=True)
class Planned:
    """One stage of one cell.

    kind: ``base`` (pre-training, or a checkpoint from outside), ``sft``, ``judge``, ``rl`` or ``eval``. of: what an evaluation scores
    (``base``, ``sft``, ``rl``) and ``step`` the RL step of that policy. identity: equal for stages that one build serves. key: name in the
    store, None if it cannot be known yet. status: ``new``, ``begun`` (a killed build will be resumed), ``in the store``, or ``unknown``.
    """

    kind: str
    identity: str
    of: str = ""
    step: int = 0
    key: str | None = None
    status: str = UNKNOWN

    @property
    def title(self) -> str:
        return f"eval {self.of}" + (f" step {self.step}" if self.of == "rl" else "") if self.kind == "eval" else self.kind


@dataclass(frozen=True)
class PlannedCell:
    """One configuration: its overrides as typed, the resolved configuration, its stages in order."""

    overrides: list[str]
    config: dict[str, Any]
    stages: list[Planned]
    why_unknown: str | None = None  # why the store keys are not known

    @property
    def arm(self) -> str:
        from repro.tracking import arm_name

        return arm_name(self.config)

    @property
    def arm_key(self) -> str:
        from repro.identity import arm_key

        return arm_key(self.config)


@dataclass(frozen=True)
class Plan:
    """All cells of a command. ``sweep``: whether Hydra would run it as a sweep."""

    cells: list[PlannedCell]
    sweep: bool
    arms: dict[str, list[int]] = field(default_factory=dict)  # arm and its key -> training seeds

    def unique(self) -> Iterable[tuple[PlannedCell, Planned]]:
        """Every stage once, with the first cell that needs it."""
        seen = set()
        for cell in self.cells:
            for stage in cell.stages:
                if stage.identity not in seen:
                    seen.add(stage.identity)
                    yield cell, stage


def combinations(overrides: Sequence[str], params: dict[str, Any]) -> list[list[str]]:
    """The overrides of every job, in the sweeper's order. ``params``: ``hydra.sweeper.params`` of the composed configuration.

    Raises:
        ConfigError: a sweep that only other sweepers understand (``interval(0,1)``).
        hydra.errors.OverrideParseException: an override that cannot be read.
    """
    return product([parsed(text) for text in (*(f"{key}={value}" for key, value in params.items()), *overrides)])


def product(overrides: Iterable[Override]) -> list[list[str]]:
    """The same of parsed overrides, those of the experiment first. Raises ConfigError."""
    choices: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}" if not override.is_delete() else override.input_line]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(f"cannot plan {override.input_line!r}: Hydra's basic sweeper takes lists (a,b), range(...) and glob(...)")
    return [list(job) for job in itertools.product(*choices.values())]


def without(jobs: Iterable[Sequence[str]], skip: Iterable[str]) -> list[list[str]]:
    """The jobs that hold none of the combinations of ``hydra.sweeper.skip`` (overrides with spaces between)."""
    unwanted = [set(combination.split()) for combination in skip]
    return [list(job) for job in jobs if not any(combination <= set(job) for combination in unwanted)]


def _but_seed(job: list[str]) -> tuple[str, ...]:
    return tuple(override for override in job if not override.startswith("seed="))


def _with_seed(job: list[str], composed: dict[tuple[str, ...], Any]) -> Any:
    """The configuration of a job that differs from one before by a plain seed: composing it again takes a tenth of a second, and some plans
    have a hundred cells. None where there was none."""
    seeds = [override.removeprefix("seed=") for override in job if override.startswith("seed=")]
    before = composed.get(_but_seed(job))
    if before is None or len(seeds) != 1 or not seeds[0].isdecimal():
        return None
    config = before.copy()
    config.seed = int(seeds[0])
    return config


def is_sweep(master: DictConfig, multirun: bool) -> bool:
    """Whether Hydra runs a sweep. ``master``: the composed configuration with its ``hydra`` node."""
    return multirun or (master.hydra.mode is not None and master.hydra.mode.name == "MULTIRUN")


def command_jobs(overrides: list[str], *, multirun: bool) -> tuple[bool, list[list[str]], Callable[[list[str]], DictConfig]]:
    """Return whether a command line is a sweep, the overrides of its cells, and what composes one of them. Hydra must be initialized.

    Raises:
        ConfigError: sweeps without cells, and of other sweepers than the basic one; the composition raises it for what a cell may not set.
    """
    from hydra import compose

    swept = [text for text in overrides if parsed(text).is_sweep_override()]
    shared = [text for text in overrides if text not in swept]
    shallow = [text for text in shared if not is_deep(text)]
    master = compose("config", overrides=shallow, return_hydra_config=True)
    if not is_sweep(master, multirun):
        if swept:
            raise ConfigError(f"{swept[0]} is a sweep, and this would be a single run: add -m")
        return False, [overrides], _composer(check_choices)
    handed = [text for text in hand_to_cells(shared, master) if not parsed(text).is_sweep_override()]
    if handed != shallow:
        master = compose("config", overrides=handed, return_hydra_config=True)
    target = master.hydra.sweeper["_target_"]
    if not target.endswith((".BasicSweeper", "repro_launchers.Sweeper")):
        raise ConfigError(f"cannot plan hydra/sweeper {target}: its cells are not known beforehand; use the basic one")
    own = [text for text in overrides if parsed(text).is_hydra_override()]
    jobs = combinations([text for text in overrides if text not in own], dict(master.hydra.sweeper.params or {}))
    jobs = without(jobs, master.hydra.sweeper.get("skip") or ())
    if not jobs:
        raise ConfigError("the sweep has no cells: one of its lists is empty")

    compose_cell = _composer(functools.partial(check_cell, master), own)
    return True, where_they_apply(jobs, compose_cell), compose_cell


def _composer(check: Callable[[DictConfig], None], own: Sequence[str] = ()) -> Callable[[list[str]], DictConfig]:
    """Return what composes a cell from its overrides and those of Hydra, refuses what its hydra node may not set, and drops that node."""
    from hydra import compose

    def compose_cell(job: list[str]) -> DictConfig:
        config = compose("config", overrides=[*own, *job], return_hydra_config=True)
        check(config)
        return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

    return compose_cell


def expand(overrides: Sequence[str], *, multirun: bool = False) -> Plan:
    """Compose and validate every cell of ``python -m repro OVERRIDES``. Imports no torch; the store is not looked at (``repro.plan.lookup``).

    Args:
        overrides: as on the command line, sweeps included.
        multirun: as ``--multirun``.

    Raises:
        ConfigError: what ``python -m repro`` would refuse, and sweeps of other sweepers than the basic one.
        hydra.errors.HydraException: unknown groups, choices and keys.
    """
    from hydra import initialize_config_dir

    register()
    arguments.check(overrides)
    overrides = list(overrides)
    with initialize_config_dir(str(CONF), **VERSION_BASE):
        sweep, jobs, compose_cell = command_jobs(overrides, multirun=multirun)
        cells, composed = [], {}
        for job in jobs:
            config = _with_seed(job, composed) or compose_cell(job)
            composed[_but_seed(job)] = config
            validate(config)
            resolved = plain(config)
            cells.append(PlannedCell(job, resolved, stages_of(resolved), "the store was not looked at"))
    arms: dict[str, list[int]] = {}
    for cell in cells:
        arms.setdefault(f"{cell.arm} {cell.arm_key}", []).append(cell.config["seed"])
    return Plan(cells, sweep, arms)


def _identity(kind: str, read: Any, *inputs: str) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps([read, inputs], sort_keys=True).encode()).hexdigest()[:16]}"


def kept_steps(config: dict[str, Any]) -> list[int]:
    """RL steps whose policy is kept and evaluated: every ``eval_steps``, and the last; only the last where a budget ends the run."""
    rl = config["rl"]
    if kind_of(config) != "samples":
        return [last_step(config)]
    between = range(rl["eval_steps"], rl["steps"], rl["eval_steps"]) if rl["eval_steps"] else ()
    return [*between, rl["steps"]]


def needs_micro_judge(config: dict[str, Any]) -> bool:
    """Whether RL is rewarded by a micro judge, which the run fine-tunes from the base model."""
    verifier = config["verifier"]
    judge = verifier.get("judge") or {}
    return config["rl"]["name"] != "none" and verifier.get("kind") == "judge" and not judge.get("path") and not judge.get("url")


def stages_of(config: dict[str, Any]) -> list[Planned]:
    """The stages of a cell in the order in which they run, identified by what each reads of the configuration."""
    if searches(config):
        return [Planned("traces", _identity("traces", [config["traces"], config["seed"]]))]
    model = config["model"]
    launched = {"launch": config["launch"]["name"], "processes": config["launch"]["processes"], "threads": config["threads"]}
    outside = model["path"] is not None
    base = Planned("base", _identity("base", [model["path"], model["revision"]] if outside else [model["micro"], config["threads"]]))
    stages = [base]

    def evaluate(of: str, step: int, model_of: Planned) -> None:
        stages.append(Planned("eval", _identity("eval", [config["eval"], config["threads"], step], model_of.identity), of, step))

    evaluate("base", 0, base)
    start = base
    if config["sft"]["name"] != "none":
        start = Planned(
            "sft", _identity("sft", [config["sft"], config["data"], config["seed"], launched, adapter_of(config, "sft")], base.identity)
        )
        stages.append(start)
        evaluate("sft", 0, start)
    if config["rl"]["name"] != "none":
        inputs = [start.identity]
        if needs_micro_judge(config):
            judge = Planned("judge", _identity("judge", [config["sft"], config["data"], launched], base.identity))
            stages.append(judge)
            inputs.append(judge.identity)
        read = [config[key] for key in ("rl", "reward", "data", "seed", "verifier")] + [read_by_key(config), adapter_of(config, "rl")]
        rl = Planned("rl", _identity("rl", [read, launched], *inputs))
        stages.append(rl)
        for step in kept_steps(config):
            evaluate("rl", step, rl)
    return stages
