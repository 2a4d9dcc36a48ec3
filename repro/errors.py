"""One line for every refusal: which key, which value, what is allowed. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
import re

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from evals.files import BenchmarkError
from repro import arguments
from repro.client import EndpointError
from repro.config import ConfigError
from repro.data.world import SplitError
from repro.store import StoreError
from repro.sweep.slurm import SlurmError
from repro.validate import unknown


def explain(error: BaseException, place: str = "paths.outputs") -> str | None:
    """The line to print for an error the user can mend, or None. ``place``: the key that says where results go.

    Hydra wraps OmegaConf's errors, and wraps a failed interpolation of a resolver once more; the innermost says what is wrong.
    """
    if isinstance(error, (ConfigError, StoreError, SplitError, BenchmarkError)):
        return str(error)
    if isinstance(error, SlurmError):
        return f"Slurm: {error}"
    if isinstance(error, EndpointError):
        return f"{error}; what came is kept, the same command continues"
    if isinstance(error, ValueError) and "Config group override must be" in str(error):
        return "a group cannot be null: choose one of its choices (python -m repro --help), e.g. rl=none"
    if isinstance(error, OSError) and (error.errno in (28, 122) or "No space left on device" in str(error)):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"disk full{where}: free some space and run the same command again, it continues"
    if isinstance(error, PermissionError):
        return f"cannot write {error.filename}: make it writable, or choose another folder with {place}=..."
    if isinstance(error, OSError) and error.filename and error.errno in (17, 20, 21, 30, 36):
        return f"cannot write {error.filename} ({error.strerror}): choose another folder with {place}=..."
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return f"out of memory ({_first(error)}): use smaller batches (rl.micro_batch_size, eval.batch_size, ...) or a smaller model"
    if _sets_below_null(error):
        key = arguments.key_of_what_is_off()
        what = f"{key} is a key of something" if key else "an override sets a key of something"
        return f"{what} that is off (null): choose it first, e.g. reward=cosine reward.cosine.r0_correct=10"
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return None
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    for inner in chain:
        if isinstance(inner, (ConfigError, StoreError)):
            return str(inner)
    return _hydra_line(chain)


def _sets_below_null(error: BaseException) -> bool:
    """Whether Hydra could not set a value since its parent is null: Hydra 1.3 fails an assertion, or merges into nothing; 1.4 says so."""
    if isinstance(error, AssertionError):
        return "Unexpected type for root: NoneType" in str(error)
    if isinstance(error, AttributeError):
        return "'NoneType'" in str(error) and "full_key:" in str(error)
    return "Error merging override" in str(error) and str(error.__cause__).endswith(" is None")


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _hydra_line(chain: list[BaseException]) -> str:
    text = str(chain[0]).strip()
    if isinstance(chain[0], OverrideParseException):
        return (
            f"cannot read the override {chain[0].override!r} ({text.splitlines()[0]}): write key=value, and quote the shell's special signs"
        )
    several = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if several:
        key, _, value = several[1].partition("=")
        return f"{key}={value} is several values: add -m for a cell of each, or write {key}=[{value}] if the key takes a list"
    absent = re.search(r"Could not override '([^']+)'", text)
    if absent and "No match in the defaults list" in text:
        return f"there is no group {absent[1]} to choose from: python -m repro --help lists the groups and keys"
    slashed = re.search(r"Could not find '([^'/]+)/([^']+)'", text)
    if slashed and (new := arguments.new_spelling(*slashed.groups())):
        return f"{slashed[1]}: {slashed[2]}: choices have no slash any more, write {new}"
    missing = re.search(
        r"Could not find '([^']+)/([^'/]*)'\s+Available options in '([^']+)':\s+(.*?)(?:Config search path|$)", text, re.DOTALL
    )
    if missing:
        folder, choice, group, options = missing.groups()
        choice = f"{folder}/{choice}".removeprefix(f"{group}/")
        names = options.split()
        near = difflib.get_close_matches(choice, names, 1)
        return f"{group}={choice} does not exist{f' (did you mean {near[0]}?)' if near else ''}: choose one of {', '.join(names)}"
    nowhere = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if nowhere:
        group, choice = nowhere.groups()
        return f"{group}/{choice} does not exist: python -m repro --help lists the choices of {group.split('/')[0]}"
    # The longest chain element with a key is the OmegaConf error that says which key and type.
    for inner in reversed(chain):
        key = getattr(inner, "full_key", None)
        message = str(inner).strip().splitlines()
        if not key or not message:
            continue
        if "not in" in message[0]:  # Key 'x' not in 'RLConfig'
            return unknown(key, sorted(getattr(getattr(inner, "object_type", None), "__dataclass_fields__", {})))
        return f"{key}: {message[0]}"
    return "; ".join(part.strip() for part in text.splitlines() if part.strip())
