"""What a sweep has once: launcher, sweeper, callbacks and folder. Hydra reads them from the sweep itself and ignores them in its cells.

An arm, a recipe or another swept choice that sets one of them would have no effect, so it is refused. What Hydra does read for every cell
(``hydra.job``, ``hydra.job_logging``, ``hydra.output_subdir``, ``hydra.verbose``) may differ.
"""

from __future__ import annotations

import functools
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from repro import arguments
from repro.config import ConfigError
from repro.sweep.overrides import parsed

ONCE = ("launcher", "sweeper", "mode", "callbacks", "hydra_logging", "searchpath", "run", "sweep")


def check_cell(master: DictConfig, cell: DictConfig) -> None:
    """Refuse a cell that sets what the sweep has once.

    Args:
        master: Hydra's configuration of the sweep, with its ``hydra`` node.
        cell: the configuration of one cell, with its own.

    Raises:
        ConfigError: one line that names the key and the cell.
    """
    check_choices(cell)
    for key in ONCE:
        of_sweep, of_cell = (_settings(config, key) for config in (master, cell))
        if of_sweep != of_cell:
            group = f"hydra/{key}"
            choice = cell.hydra.runtime.choices.get(group)
            same = choice is None or choice == master.hydra.runtime.choices.get(group)
            what = f"hydra.{_first_difference(of_sweep, of_cell, key)}" if same else f"{group}={choice}"
            raise ConfigError(
                f"{what} of the cell {' '.join(cell.hydra.overrides.task)} would be ignored: a sweep has one hydra.{key} for all its cells; "
                "set it on the command line or in the experiment"
            )


def check_choices(config: DictConfig) -> None:
    """Refuse choices in files of a configuration over which Hydra passes without a word.

    A recipe in the old spelling is one, since its group is optional. A ``hydra/...`` group that ``conf/config.yaml`` or an experiment chooses
    first is another: an arm, or a file of the user's, cannot choose it again. What the command line chooses wins as anywhere.

    Raises:
        ConfigError: one line that names the file and the choice.
    """
    choices = config.hydra.runtime.choices
    if new := arguments.new_spelling("recipe", choices.get("recipe") or ""):
        raise ConfigError(f"recipe: {choices.recipe}: choices have no slash any more, write {new}")
    on_line = {parsed(text).key_or_group for text in config.hydra.overrides.hydra}
    repository = GlobalHydra.instance().config_loader().repository
    for group, chosen in choices.items():
        names = chosen if OmegaConf.is_list(chosen) else [chosen]
        for path in (f"{group}/{name}" for name in names if name and not group.startswith("hydra/")):
            for wanted, choice in _hydra_choices(repository, path):
                if wanted not in on_line and choices.get(wanted) != choice:
                    raise ConfigError(
                        f"{wanted}: {choice} in {path}.yaml would be ignored, since {choices.get(wanted)} is chosen before: "
                        f"write {wanted}={choice} on the command line"
                    )


@functools.lru_cache(maxsize=1024)
def _hydra_choices(repository: Any, path: str) -> list[tuple[str, str]]:
    """Return the ``hydra/...`` groups that one configuration file overrides, with their choices."""
    loaded = repository.load_config(path)
    defaults = [] if loaded is None else [default for default in loaded.defaults_list if isinstance(default, GroupDefault)]
    found = [(default.group.lstrip("/"), default.value) for default in defaults if default.override]
    return [(group, choice) for group, choice in found if group.startswith("hydra/")]


def _settings(config: DictConfig, key: str) -> Any:
    """Return ``hydra.<key>`` as plain data; folders resolved, since they hang on values that a cell may set."""
    if key == "sweep":
        node = config.hydra.sweep
        return {"dir": node.dir, "subdir": OmegaConf.to_container(node, resolve=False)["subdir"]}
    node = OmegaConf.select(config.hydra, key)
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


def _first_difference(one: Any, two: Any, path: str) -> str:
    """Return the path of the first key in which two trees of settings differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            if one.get(key) != two.get(key):
                return _first_difference(one.get(key), two.get(key), f"{path}.{key}")
    return path
