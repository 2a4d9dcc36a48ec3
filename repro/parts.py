"""Parts of a user's own: a reward term, a verifier or a benchmark by import path, from a package that is not ours.

The path is ``package.module.Name`` or ``package.module:Name``. The module is looked for where Python
looks, and in the folder that the command was started in. A part is checked before any work, can be
pickled (processes of a run hand it on), and the sources of its package are in the keys of the stages
that use it: an edited reward is another reward.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pickle
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.config import ConfigError


def split(path: str, key: str) -> tuple[str, str]:
    """Return (module, name) of an import path.

    Raises:
        ConfigError: it is no such path.
    """
    if not path:
        raise ConfigError(f"{key} has no value: give the import path of your own part, e.g. mypackage.mymodule.Name")
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ConfigError(f"{key}={path!r} is no import path: write package.module.Name or package.module:Name")
    return module, name


def load(path: str, key: str) -> Any:
    """Return what an import path names.

    Args:
        path: ``package.module.Name`` or ``package.module:Name``.
        key: names the configuration key in messages.

    Raises:
        ConfigError: in one line, what cannot be imported and where it was looked for.
    """
    module, name = split(path, key)
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever the module does when it is imported
        raise ConfigError(
            f"{key}={path!r} cannot be imported ({place_of(error, module)}); it is looked for on PYTHONPATH and in {folder}"
        ) from None
    if not hasattr(found, name):
        raise ConfigError(f"{key}={path!r}: the module {module} has no {name}")
    return getattr(found, name)


def check_picklable(part: Any, path: str, key: str) -> None:
    """Refuse a part that the processes of a run cannot hand on. Raises ConfigError."""
    try:
        pickle.dumps(part)
    except Exception as error:  # pickle raises many kinds
        reason = next(iter(str(error).splitlines()), "?")
        raise ConfigError(f"{key}={path!r} cannot be pickled ({reason}): define it at the top of its module") from None


def place_of(error: BaseException, module: str) -> str:
    """Return an error in one line, with the last line of the user's own package that it passed."""
    line = next(iter(str(error).strip().splitlines()), "")
    said = f"{type(error).__name__}: {line}" if line else type(error).__name__
    package = module.partition(".")[0]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if package in Path(f.filename).with_suffix("").parts]
    return f"{said}, {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else said


@lru_cache
def source_hash(path: str, key: str) -> str:
    """Return the checksum of the sources of a part.

    They are all ``.py`` files of the top-level package that the module is in, or the module's file
    where it is in none.

    Raises:
        ConfigError: as ``load``.
    """
    load(path, key)
    module = split(path, key)[0]
    top = importlib.util.find_spec(module.partition(".")[0])
    if top is not None and top.submodule_search_locations:
        roots = [Path(folder) for folder in top.submodule_search_locations]
        files = sorted((file.relative_to(root).as_posix(), file) for root in roots for file in root.rglob("*.py"))
    else:
        origin = importlib.util.find_spec(module).origin
        files = [(Path(origin).name, Path(origin))]
    digest = hashlib.sha256()
    for name, file in files:
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def sources(config: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> checksum of the parts that RL of this configuration uses; empty where there are none.

    Raises:
        ConfigError: as ``load``.
    """
    found = {}
    if config["rl"]["name"] != "none":
        custom = config["reward"].get("custom")
        if custom is not None:
            found["reward.custom.path"] = source_hash(custom["path"], "reward.custom.path")
        verifier = config["verifier"]
        if verifier.get("kind") == "custom":
            found["verifier.path"] = source_hash(verifier["path"], "verifier.path")
    return found
