"""The words of a command line that Hydra would pass over, misread, or answer with more than a line. Imports nothing heavy."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from repro.config import ConfigError

CONF = Path(__file__).parents[1] / "conf"
ONCE_SLASHED = ("model", "data", "sft_data", "recipe", "traces")  # groups whose choices had folders of scales


def choices(group: str) -> list[str]:
    """Return the names of a group's choices."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def new_spelling(group: str, choice: str) -> str | None:
    """Return the present name of a choice in its old spelling (``micro/llama``), None for any other.

    Hydra 1.4 places the keys of a choice with a slash one level deeper, so choices have none.
    """
    scale, slash, name = choice.partition("/")
    if not slash or group not in ONCE_SLASHED:
        return None
    scales = choices("scale") if scale == "${scale}" else [scale]
    known = choices(group)
    return f"{scale}_{name}" if any(f"{one}_{name}" in known for one in scales) else None


def check(arguments: Sequence[str]) -> None:
    """Refuse what must not reach Hydra.

    Raises:
        ConfigError: one line that says what to write instead.
    """
    _options([word for word in arguments if word.startswith("-")])
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign or key.startswith("-"):
            continue
        if key.lstrip("+") == "experiment":
            _experiment(key, value)
        _old_spelling(key, value)
        if key.lstrip("+") == "recipe":
            _recipes(value)


def _options(given: Sequence[str]) -> None:
    """Hydra answers an unknown option with its usage. Short forms of options are options too."""
    from hydra._internal.utils import get_args_parser

    known = get_args_parser()._option_string_actions
    for word in given:
        name = word.partition("=")[0]
        if not any(option.startswith(name) for option in known) and not word[1:2].isdigit():
            raise ConfigError(
                f"there is no option {name}: python -m repro --help; a key of the configuration is set without dashes, key=value"
            )


def _experiment(key: str, value: str) -> None:
    """An experiment brings arms and seeds of its own, so there can be one; and it is added to the defaults, not put in the place of another."""
    if "," in value or "[" in value:
        raise ConfigError(f"{key}={value}: one experiment at a time, each has arms and seeds of its own; run them one after the other")
    if not value.strip("'\" "):
        raise ConfigError(f"{key}= names no experiment: choose one of {', '.join(choices('experiment'))}")
    if not key.startswith("+"):
        raise ConfigError(f"{key}={value}: an experiment is added, write +{key}={value}")


def _old_spelling(key: str, value: str) -> None:
    """Refuse choices in their old spelling, and say the whole override as it is written now."""
    group = key.lstrip("+~").partition("@")[0]
    old = {name: new_spelling(group, name) for name in re.split(r"[\[\]'\", ]+", value)}
    new = value
    for name, now in sorted(old.items(), key=lambda pair: -len(pair[0])):
        new = new.replace(name, now) if now else new
    if new != value:
        raise ConfigError(f"{key}={value}: choices have no slash any more, write {key}={new}")


def _recipes(value: str) -> None:
    """The group is optional in ``conf/config.yaml``, since not every recipe of an experiment is there at every scale, so Hydra passes over a
    slip of the pen without a word."""
    names = choices("recipe")
    scales = choices("scale")
    for name in value.strip("[]'\"").split(","):
        if not any(name.replace("${scale}", scale) in names for scale in scales):
            near = difflib.get_close_matches(name, names, 1)
            raise ConfigError(
                f"recipe={name} does not exist{f' (did you mean {near[0]}?)' if near else ''}: choose one of {', '.join(names)}"
            )


def flag_first(arguments: list[str]) -> None:
    """Move ``-m`` to the front, in place: argparse takes overrides in one run only, so the flag may not stand between them."""
    for flag in ("-m", "--multirun"):
        if flag in arguments[1:]:
            arguments.remove(flag)
            arguments.insert(1, flag)


def key_of_what_is_off() -> str | None:
    """The first override of this command line that sets a key below something that is null, which Hydra does not name.

    Composes once more, without the overrides that set values.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    values = [word for word in words if "." in word.partition("=")[0] and not word.startswith("hydra.")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=[word for word in words if word not in values and "," not in word])
    except Exception:  # a second fault, which comes to light once the first is mended
        return None
    for word in values:
        key = word.partition("=")[0].lstrip("+~")
        parts = key.split(".")
        for depth in range(1, len(parts)):
            if OmegaConf.select(config, ".".join(parts[:depth])) is None:
                return key
    return None
