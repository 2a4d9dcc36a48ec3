"""Values below a choice that only some cells of a sweep make: ``reward=classic,cosine reward.cosine.r0_correct=5``.

Such a value is set in the cells that have its part (here ``reward.cosine``) and left out of the others. Hydra first composes the sweep itself,
without what is swept, where the part is off in general and the line would be refused; ``hand_to_cells`` therefore writes the value as a sweep
of one element, which Hydra passes to the cells. ``where_they_apply`` then leaves it out of the cells whose choices lack the part.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from repro.config import ConfigError

log = logging.getLogger(__name__)


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Override:
    """Return one override of a command line, parsed. Raises OverrideParseException."""
    return OverridesParser.create().parse_overrides([text])[0]


def is_deep(text: str) -> bool:
    """Return whether an override sets a key below a part of a group; groups themselves are never off."""
    key = parsed(text).key_or_group
    return key.count(".") >= 2 and not key.startswith("hydra.")


def part_that_is_off(config: DictConfig, key: str) -> str | None:
    """Return the first part above ``key`` that the configuration has but that is null, or None."""
    node, parts = config, key.split(".")[:-1]
    for depth, part in enumerate(parts, 1):
        if not isinstance(node, DictConfig) or part not in node:
            return None
        node = OmegaConf.select(node, part)
        if node is None:
            return ".".join(parts[:depth])
    return None


def hand_to_cells(words: Sequence[str], master: DictConfig) -> list[str]:
    """Return the overrides of a sweep such that Hydra applies those of parts that are off in ``master`` to its cells only.

    Args:
        words: overrides of the command line.
        master: the sweep's own configuration, composed without deep values and without what is swept.
    """

    def handed(text: str) -> str:
        override = parsed(text)
        if not is_deep(text) or override.is_sweep_override() or override.is_delete():
            return text
        if part_that_is_off(master, override.key_or_group) is None:
            return text
        return f"{override.get_key_element()}=choice({override.get_value_element_as_str()})"

    return [handed(text) for text in words]


def where_they_apply(jobs: Iterable[Sequence[str]], compose: Callable[[list[str]], DictConfig]) -> list[list[str]]:
    """Return the jobs of a sweep, each without the values whose part is off there. Jobs that became equal are one.

    Args:
        jobs: the overrides of every cell.
        compose: Hydra's composition of a cell.

    Raises:
        ConfigError: a value that no cell would take.
    """
    jobs = [list(job) for job in jobs]
    composed: dict[tuple[str, ...], DictConfig] = {}
    parts: dict[str, str] = {}  # key -> the part that is off somewhere
    kept: list[list[str]] = []
    shortened: set[tuple[str, ...]] = set()
    for job in jobs:
        deep = [text for text in job if is_deep(text)]
        if not deep:
            kept.append(job)
            continue
        choices = tuple(text for text in job if text not in deep and _may_switch(text))
        if choices not in composed:
            composed[choices] = compose(list(choices))
        off = {text: part_that_is_off(composed[choices], parsed(text).key_or_group) for text in deep}
        parts |= {parsed(text).key_or_group: part for text, part in off.items() if part is not None}
        rest = [text for text in job if not off.get(text)]
        if len(rest) < len(job):
            if tuple(rest) in shortened:
                continue
            shortened.add(tuple(rest))
        kept.append(rest)
    for key, part in parts.items():
        count = sum(any(parsed(text).key_or_group == key for text in job) for job in kept)
        if not count:
            raise ConfigError(f"{key}: {part} is off (null) in every cell of the sweep; choose it first, e.g. reward=classic,cosine")
        log.info("%s is set in %d of %d cells; in the others %s is off", key, count, len(kept), part)
    return kept


def _may_switch(text: str) -> bool:
    """Return whether an override may switch a part on or off: a choice, or a value that is no plain number or word."""
    override = parsed(text)
    if override.key_or_group == "seed":
        return False
    if "." not in override.key_or_group or override.is_delete():
        return True
    value = override.value()
    return value is None or isinstance(value, (dict, list))
