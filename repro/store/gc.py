"""Garbage collection: removes what nothing refers to, and says what it would remove before it does.

A stage is kept while a cell that ever asked for it still has its folder (``<store>/.roots``, written before the stage is used, so running and
failed cells count), while a ``cell.json`` or a sweep's state near the store names it, or while a kept stage was made from it. A reference
from a folder that was deleted counts no more: delete a sweep's folder, and its stages can go. Unlike a cache that drops by age, age only
ever keeps. What is being built is kept by its lock.

    <store>/.roots/<hash of the cell's folder>/folder          the folder
    <store>/.roots/<hash of the cell's folder>/<stage>.<key>   one empty file a stage: two processes of a cell lose nothing

Run it where the disks of the records are mounted: a folder that cannot be seen is a folder that is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from repro.store import read_manifest

ROOTS = ".roots"


def place_of(store: Path, folder: Path) -> Path:
    """Where a store notes what the cell in ``folder`` refers to."""
    return store / ROOTS / hashlib.sha256(str(folder).encode()).hexdigest()[:16]


def register(store: Path, folder: Path, stage: str, key: str) -> None:
    """Note that the cell in ``folder`` refers to a stage; called before the stage is looked for."""
    root = place_of(store, folder)
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "folder").exists():
        draft = root / f".folder.{uuid.uuid4().hex}"
        draft.write_text(str(folder))
        os.replace(draft, root / "folder")
    (root / f"{stage}.{key}").touch()


def roots(store: Path) -> tuple[set[str], list[Path]]:
    """(``stage/key`` that cells with a folder refer to, roots whose folder is gone)."""
    kept, gone = set(), []
    for place in (store / ROOTS).glob("*"):
        try:
            alive = Path((place / "folder").read_text()).exists()
        except FileNotFoundError:  # just being made
            alive = True
        if alive:
            kept |= {path.name.replace(".", "/", 1) for path in place.iterdir() if path.name.lstrip(".").partition(".")[0] != "folder"}
        else:
            gone.append(place)
    return kept, gone


def recorded(outputs: Path, store: Path) -> set[str]:
    """``stage/key`` that results below ``outputs`` name, wherever they were moved to: cells, and states of submitted sweeps.

    Raises:
        ValueError: a result that cannot be read; nobody knows what it refers to.
    """
    kept = set()
    for folder, inner, files in os.walk(outputs):
        inner[:] = [name for name in inner if Path(folder, name) != store]
        for name in files:
            if name != "cell.json" and not (Path(folder).name == "state" and name.endswith(".json") and not name.startswith(".")):
                continue
            path = Path(folder, name)
            try:
                found = json.loads(path.read_text())
                stages = found.get("stages") or (found.get("result") or {}).get("stages") or []
                kept |= {f"{stage['stage']}/{stage['key']}" for stage in stages}
            except FileNotFoundError:
                continue
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                raise ValueError(f"{path} cannot be read ({type(error).__name__}): nothing is removed; mend or delete it first") from None
    return kept


def with_inputs(store: Path, kept: set[str]) -> set[str]:
    """The stages and all that they were made from."""
    by_key = {path.name: f"{path.parent.name}/{path.name}" for path in finished(store)}
    open_, closed = list(kept), set()
    while open_:
        name = open_.pop()
        if name in closed:
            continue
        closed.add(name)
        manifest = read_manifest(store / name)
        if not isinstance(manifest, str):
            open_ += [by_key[key] for key in manifest.get("inputs", {}).values() if key in by_key]
    return closed


def finished(store: Path) -> list[Path]:
    """Folders of finished stages, by name."""
    found = (path for path in store.glob("*/*") if path.is_dir())
    return sorted(path for path in found if not path.name.startswith(".") and not path.parent.name.startswith("."))


def leftovers(store: Path) -> Iterator[tuple[Path, str]]:
    """(folder, ``stage/key``) of what was begun, found corrupt, or left by a killed collection."""
    for path in store.glob("*/.*"):
        if path.is_dir() and not path.parent.name.startswith("."):
            yield path, f"{path.parent.name}/{path.name[1:].split('.')[0]}"


def references(store: Path, outputs: Path) -> set[str]:
    return with_inputs(store, roots(store)[0] | recorded(outputs, store))


def candidates(store: Path, outputs: Path, days: float) -> list[Path]:
    """What may go: unreferenced, not locked, and unchanged for ``days``."""
    kept, limit = references(store, outputs), time.time() - days * 86400
    named = [*((path, f"{path.parent.name}/{path.name}") for path in finished(store)), *leftovers(store)]
    free = [(path, name) for path, name in named if name not in kept and path.stat().st_mtime <= limit]
    return sorted(path for path, name in free if not (path.parent / f".{name.split('/')[1]}.lock").exists())


def remove(store: Path, outputs: Path, path: Path) -> bool:
    """Take ``path`` out of sight, look once more whether somebody has come to refer to it, and only then delete it."""
    key = path.name.lstrip(".").split(".")[0]
    doomed = path.with_name(f".{key}.gc-{os.getpid()}-{time.monotonic_ns()}")
    path.rename(doomed)
    if f"{path.parent.name}/{key}" in roots(store)[0] and not path.exists():
        doomed.rename(path)
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def collect(store: Path, outputs: Path, days: float, delete: bool) -> int:
    """Print what may go, and remove it if ``delete``; returns the bytes."""
    store, total = store.resolve(), 0
    found = candidates(store, outputs.resolve(), days)
    for path in found:
        amount = size(path)
        if delete and not remove(store, outputs, path):
            print(f"{path.relative_to(store)}: a cell has just asked for it, kept")
            continue
        total += amount
        print(f"{path.relative_to(store)!s:<40} {amount / 2**20:>10.1f} MiB")
    if delete:
        for place in roots(store)[1]:
            shutil.rmtree(place, ignore_errors=True)
    kept = len(finished(store)) - (0 if delete else sum(not path.name.startswith(".") for path in found))
    how = "removed" if delete else "would be removed: --delete does it"
    print(f"{len(found)} folders, {total / 2**20:.1f} MiB {how}; {kept} stages kept")
    return total
