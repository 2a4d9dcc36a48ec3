"""Words of ``key=value`` on command lines that are no Hydra run: ``python -m evals.harness``, ``python -m repro.data.distill`` and others.

Unlike argparse the keys read like Hydra's overrides, and what cannot be read is one line that says the key and what it may be.

    given = pairs(["benchmark=math500", "samples=4"], ("benchmark", "samples"))
    whole("samples", given["samples"])
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from repro.config import ConfigError


def pairs(arguments: Sequence[str], allowed: Sequence[str]) -> dict[str, str]:
    """key -> text of ``key=value`` arguments.

    Raises:
        ConfigError: another form, an unknown key, one that is given twice or empty.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if not sign:
            raise ConfigError(f"cannot read {argument!r}: write key=value (--help lists the keys)")
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            raise ConfigError(f"unknown key {key}{f', did you mean {near[0]}?' if near else ''} (keys: {', '.join(allowed)})")
        if key in found:
            raise ConfigError(f"{key} is given twice")
        if not text.strip():
            raise ConfigError(f"{key} is empty; leave it out for its default")
        found[key] = text.strip()
    return found


def whole(key: str, text: str, least: int = 1, most: int = 2**31 - 1) -> int:
    """A whole number in [least, most]. Raises ConfigError."""
    try:
        value = int(text)
    except ValueError:  # also more digits than int reads
        value = None
    if value is None or value < least:
        raise ConfigError(f"{key}={text[:40]}: a whole number of at least {least} is needed")
    if value > most:
        raise ConfigError(f"{key}={text[:40]}: at most {most} is possible")
    return value


def real(key: str, text: str, low: float, high: float) -> float:
    """A number in [low, high]. Raises ConfigError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ConfigError(f"{key}={text}: a number from {low:g} to {high:g} is needed")
    return value


def choice(key: str, text: str, allowed: Sequence[str]) -> str:
    """One of ``allowed``. Raises ConfigError with the nearest."""
    if text not in allowed:
        near = difflib.get_close_matches(text, allowed, 1)
        raise ConfigError(f"{key}={text} does not exist{f' (did you mean {near[0]}?)' if near else ''}: choose one of {', '.join(allowed)}")
    return text


def several(key: str, text: str, allowed: Sequence[str]) -> list[str]:
    """Some of ``allowed``, separated by commas, each once. Raises ConfigError."""
    names = [choice(key, name.strip(), allowed) for name in text.split(",")]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{key}={text}: {twice} stands there twice")
    return names


def numbers(key: str, text: str, least: int = 0) -> list[int]:
    """Whole numbers, separated by commas, each once. Raises ConfigError."""
    found = [whole(key, part.strip(), least) for part in text.split(",")]
    if len(set(found)) < len(found):
        raise ConfigError(f"{key}={text}: name every number once")
    return found
