"""From a sweep's overrides to its cells: folder, resources, and every refusal before anything is submitted.

Hydra composes a configuration in about 0.15 s, twice a cell, which is an hour for 10,000 cells. Here Hydra composes once for every choice of
groups; values are then set on that configuration, and an arm is validated once for all its seeds. ``tests/test_planner.py`` holds both ways
against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from repro.config import ConfigError, plain
from repro.sweep.folder import Cell
from repro.validate import validate


def allocation(config: dict[str, Any]) -> dict[str, int]:
    """What a cell's job asks for: the largest need of the stages it has, and the sum of their minutes."""
    needs = config["resources"]
    stages = [needs["eval"], *(needs[name] for name in ("sft", "rl") if config[name]["name"] != "none")]
    asked = {key: max(stage[key] for stage in stages) for key in ("nodes", "gpus", "cpus", "memory")}
    return {**asked, "minutes": sum(stage["minutes"] for stage in stages)}


def asked_by(overrides: list[str]) -> dict[str, int]:
    """Resources of one cell, composed anew."""
    from hydra import compose, initialize_config_module

    from repro.config import register
    from repro.hydra_versions import VERSION_BASE

    register()
    with initialize_config_module("conf", **VERSION_BASE):
        config = compose("config", overrides=overrides)
    validate(config)
    return allocation(plain(config))


def plan(
    job_overrides: Sequence[Sequence[str]], compose: Callable[[list[str]], DictConfig], is_group: Callable[[str], bool]
) -> tuple[list[Cell], str]:
    """The cells of a sweep, one a folder (equal sets of overrides are one cell), and the folder that Hydra calls ``hydra.sweep.dir``.

    Args:
        compose: Hydra's composition of one cell, the ``hydra`` node included.
        is_group: whether a key names a group, whose choice changes what there is to set.

    Raises:
        ConfigError: what no cell may be, naming the first cell that is.
    """
    from repro.identity import cell_dir

    bases: dict[tuple[str, ...], DictConfig] = {}
    arms: dict[tuple[str, ...], tuple[str, dict[str, int], str]] = {}
    cells: dict[str, Cell] = {}
    target = ""
    for overrides in map(list, job_overrides):
        seed = [text for text in overrides if text.startswith("seed=")]
        arm = tuple(text for text in overrides if not text.startswith("seed="))
        if arm not in arms:
            values = [text for text in arm if _plain_value(text) and not is_group(text.partition("=")[0])]
            rest = tuple(text for text in arm if text not in values)
            keys = (*rest, *sorted(text.partition("=")[0] for text in values))
            fresh = keys not in bases
            if fresh:
                bases[keys] = compose(overrides)
            config = bases[keys]
            if not fresh:
                _set(config, [*values, *seed])
            cell = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
            try:
                validate(cell)
            except ConfigError as error:
                raise ConfigError(f"{error} (in the cell {' '.join(overrides)})") from None
            resolved = plain(cell)
            target = str(config.hydra.sweep.dir)
            name = cell_dir(resolved)
            arms[arm] = (name.rpartition("/seed=")[0], allocation(resolved), str(resolved["seed"]))
        name, resources, default = arms[arm]
        number = seed[-1].partition("=")[2] if seed else default
        if not number.isdigit() or int(number) >= 2**32:
            raise ConfigError(f"seed={number!r} is not possible: it must be a whole number from 0 to 4294967295")
        folder = f"{name}/seed={int(number)}"
        cells.setdefault(folder, Cell(len(cells), overrides, folder, resources))
    return list(cells.values()), target


def _plain_value(text: str) -> bool:
    """Whether an override only sets a scalar: those are set on a configuration that is composed already."""
    key, sign, value = text.partition("=")
    return bool(sign) and key.replace("_", "").replace(".", "").isalnum() and not set(value) & set("${}[]'\"\\, ()")


def _set(config: DictConfig, values: Sequence[str]) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with read_write(config), open_dict(config):
        for override in OverridesParser.create().parse_overrides(list(values)):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
