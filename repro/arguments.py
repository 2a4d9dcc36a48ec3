"""The words of a command line that Hydra would pass over, misread, or answer with more than a line. Imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

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
        if (new := in_new_spelling(argument)) != argument:
            raise ConfigError(f"{argument}: choices have no slash any more, write {new}")
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


def in_new_spelling(override: str) -> str:
    """Return an override with choices as they are written now; sweeps submitted before the change hold the old ones."""
    key, sign, value = override.partition("=")
    group = key.lstrip("+~").partition("@")[0]
    if "/" not in value or group not in ONCE_SLASHED:
        return override
    for name in sorted(re.split(r"[\[\]'\", ]+", value), key=len, reverse=True):
        value = value.replace(name, new_spelling(group, name) or name)
    return f"{key}{sign}{value}"


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


def options(words: Sequence[str]) -> argparse.Namespace:
    """Return Hydra's reading of a command line: its options, and the overrides as ``.overrides``.

    Raises:
        ConfigError: one line for options that Hydra answers with its usage or a traceback.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message} (python -m repro --hydra-help lists the options)")

    parser = get_args_parser()
    parser.error = refuse
    given = parser.parse_intermixed_args(list(words))
    chosen = [name for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(given, name)]
    if len(chosen) > 1 and chosen != ["multirun", "cfg"]:
        flags = " and ".join(f"--{name}" for name in chosen)
        raise ConfigError(f"{flags} exclude each other: give one of them")
    if given.resolve and not (given.cfg or given.help):
        raise ConfigError("--resolve needs --cfg job|hydra|all")
    return given


def for_hydra(words: Sequence[str]) -> list[str]:
    """Return the arguments as Hydra is to get them.

    Options come first, since argparse takes overrides in one run only. A sweep is named as such, since Hydra 1.4 does not look for
    ``hydra.mode`` in an experiment, and its values of parts that the default choices lack are handed to its cells
    (``repro.sweep.overrides``).

    Raises:
        ConfigError: ``--cfg`` of a sweep, with the line that shows its first cell.
    """
    from repro.sweep.overrides import hand_to_cells, is_deep, parsed

    given = options(words)
    flags = [word for word in words if word not in given.overrides]
    plain = [*flags, *given.overrides]
    mode = next((parsed(text).value() for text in given.overrides if parsed(text).key_or_group == "hydra.mode"), None)
    if given.config_dir and not Path(given.config_dir).is_dir():
        return plain  # Hydra says so
    if given.help or given.hydra_help or given.info or given.shell_completion or given.run or mode == "RUN":
        return plain
    from repro.plan.cells import command_jobs, is_sweep

    swept = [text for text in given.overrides if parsed(text).is_sweep_override()]
    with _composer(given.config_dir) as compose:
        try:
            master = compose([text for text in given.overrides if text not in swept and not is_deep(text)])
        except Exception:  # Hydra says what is wrong
            return plain
        several = is_sweep(master, given.multirun) or bool(given.cfg and swept)
        if several and given.cfg:
            _, jobs, _ = command_jobs(given.overrides, multirun=True)
            shown = [word for word in flags if word not in ("-m", "--multirun")]
            line = shlex.join(["python", "-m", "repro", *shown, "hydra.mode=RUN", *jobs[0]])
            raise ConfigError(f"--cfg shows one cell, and this is a sweep of {len(jobs)}; the first of them: {line}")
    if not several:
        return plain
    told = [] if given.multirun or mode else ["hydra.mode=MULTIRUN"]
    return [*flags, *hand_to_cells(given.overrides, master), *told]


@contextlib.contextmanager
def _composer(config_dir: str | None) -> Iterator[Callable[[list[str]], DictConfig]]:
    """Yield Hydra's composition of overrides, with its own node and what ``--config-dir`` adds."""
    from hydra import compose, initialize_config_dir

    from repro.hydra_versions import VERSION_BASE

    added = [] if config_dir is None else [f"hydra.searchpath=[file://{Path(config_dir).absolute()}]"]
    with initialize_config_dir(str(CONF), **VERSION_BASE):
        yield lambda overrides: compose("config", overrides=[*added, *overrides], return_hydra_config=True)


def key_of_what_is_off() -> str | None:
    """The first override of this command line that sets a key below something that is null, which Hydra does not name.

    Composes once more, without the overrides that set values.
    """
    from hydra.core.global_hydra import GlobalHydra

    from repro.sweep.overrides import is_deep, parsed, part_that_is_off

    given = options(sys.argv[1:])
    deep = [text for text in given.overrides if is_deep(text)]
    GlobalHydra.instance().clear()
    try:
        with _composer(given.config_dir) as compose:
            config = compose([text for text in given.overrides if text not in deep and not parsed(text).is_sweep_override()])
    except Exception:  # a second fault, which comes to light once the first is mended
        return None
    keys = (parsed(text).key_or_group for text in deep)
    return next((key for key in keys if part_that_is_off(config, key)), None)
