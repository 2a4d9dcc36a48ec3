"""What must not run is refused before any work: values out of bounds, combinations that cannot be, keys that nothing would read.

Every refusal is one line with the key, its value and what is allowed. Types are refused earlier, while composing (``repro.config``). Imports
nothing heavy.

    from repro.validate import validate
    validate(config)
"""

from __future__ import annotations

import difflib

from omegaconf import DictConfig, OmegaConf

from repro.bounds import violations
from repro.config import Config, ConfigError
from repro.validate.groups import CHECKS


def validate(config: DictConfig) -> None:
    """Refuse what must not run. ``config``: a composed one, without Hydra's own node.

    Raises:
        ConfigError: one line with the key, its value and what is allowed.
    """
    _known_keys(config, Config)  # a masked copy, as callbacks make them, forgets its own type
    named = {stage: config[stage].name for stage in ("sft", "rl") if not OmegaConf.is_missing(config[stage], "name")}
    off = tuple(f"{stage}." for stage, name in named.items() if name == "none")  # a stage that is off needs no values
    missing = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith(off))
    if missing:
        raise ConfigError(f"{missing[0]} has no value: give one, e.g. {missing[0]}=...")
    for key, value, bound in violations(config, Config):
        raise ConfigError(f"{key}={value} is not possible: it must be {bound}")
    for check in CHECKS:
        check(config)


def _known_keys(node: DictConfig, kind: type, prefix: str = "") -> None:
    """Hydra lets ``+group.key=1`` past the schema; nothing would read such a key. Nor can a key be a line break or another control sign."""
    allowed = getattr(kind, "__dataclass_fields__", {})
    for key in node:
        name = f"{prefix}{key}"
        if allowed and key not in allowed:
            raise ConfigError(unknown(name, list(allowed)))
        if OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(value, DictConfig):
            _known_keys(value, OmegaConf.get_type(value), f"{name}.")
        elif isinstance(value, str) and not value.isprintable():
            raise ConfigError(f"{name}={value!r} is not possible: it must be one line of text")


def unknown(key: str, allowed: list[str]) -> str:
    """The line that refuses a key: what is meant, perhaps, and what there is."""
    near = difflib.get_close_matches(key.rpartition(".")[2], allowed, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key {key}{hint}" + (f" (keys there: {', '.join(allowed)})" if allowed else "")
