"""Content-addressed store of finished stages: train once, use in every cell that needs it, resume what was killed.

A stage is named by a hash of the configuration it reads, the keys of its inputs and its schema version. It is built in a work folder beside
its place and published by one rename, under a lock; a killed build leaves the work folder, from which the next one resumes. Every file is
checksummed in ``manifest.json``, and a stage that no longer matches is said, removed and built again. Unlike a cache by path or time, two
sweeps, two users or two runs of the same line share whatever is equal.

    <store>/<stage>/<key>/manifest.json      finished
    <store>/<stage>/.<key>.work/             being built, or left by a kill
    <store>/<stage>/.<key>.work/.resume/     what only a resuming build needs; not published
    <store>/<stage>/.<key>.lock              who builds it, with a heartbeat
    <store>/.roots/                          which cells refer to what (repro/store/gc.py)

The order of the end is: build, manifest, remove ``.resume``, rename. A kill between any two of them redoes nothing that was done.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.lock import Lock, LockLost
from repro.store.stopwatch import Stopwatch

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
RESUME = ".resume"
FULL_HASH_LIMIT = 256 * 2**20  # bytes; larger files are checked by size on reuse, since hashing an 8B checkpoint takes minutes


class StoreError(RuntimeError):
    """The store cannot be used (not writable, disk full); the message says what to do."""


@dataclass(frozen=True)
class Stage:
    """What identifies a stage. ``config``: JSON-able values it reads; ``inputs``: keys of the stages it reads; ``version``: schema version."""

    name: str
    config: dict[str, Any]
    inputs: dict[str, str]
    version: int

    @property
    def key(self) -> str:
        text = json.dumps([self.name, self.config, self.inputs, self.version], sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Built:
    """A finished stage. ``reused`` is False when this call built it; ``seconds`` is what building took, whenever that was."""

    stage: Stage
    path: Path
    reused: bool
    seconds: float
    manifest: dict[str, Any]


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path -> size and sha256 of every file below ``folder`` but the manifest and what is for resuming."""
    inside = [p for p in folder.rglob("*") if p.relative_to(folder).parts[0] not in (MANIFEST, RESUME)]
    paths = sorted(p for p in inside if p.is_file())
    return {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in paths}


def usual_modes(folder: Path) -> None:
    """Give every file the mode that a new file has here: safetensors leaves its own closed to all others, who then cannot reuse a stage."""
    os.umask(mask := os.umask(0))
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | (0o666 & ~mask))


def closed_to_me(folder: Path) -> bool:
    """Whether there are files below ``folder`` that another user left unreadable or unwritable."""
    return any(path.is_file() and not os.access(path, os.R_OK | os.W_OK) for path in folder.rglob("*"))


def fingerprint(folder: Path) -> dict[str, Any]:
    """What tells two versions of a folder from outside the store apart: checksums, or size and time of files too large to read each time."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        facts = path.stat()
        found[str(path.relative_to(folder))] = [facts.st_size, facts.st_mtime_ns] if facts.st_size > FULL_HASH_LIMIT else file_hash(path)
    return found


def remove(path: Path) -> None:
    """Delete a folder, or the file that is in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any] | str:
    """The manifest of a stage folder, or why it cannot be used. It may be any file: a disk error does not stop at bad JSON."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return "no manifest.json"
    except (ValueError, OSError, RecursionError) as error:
        return f"unreadable manifest.json ({type(error).__name__})"
    if not isinstance(manifest, dict):
        return "manifest.json is not an object"
    wanted = {"key": str, "version": int, "config": dict, "seconds": (int, float), "files": dict, "environment": dict}
    for name, kind in wanted.items():
        if not isinstance(manifest.get(name), kind):
            return f"manifest.json has no usable {name!r}"
    if not {"commit", "dirty"} <= set(manifest["environment"]):
        return "manifest.json does not say what commit it is of"
    if not manifest["files"]:
        return "manifest.json lists no files"
    for name, facts in manifest["files"].items():
        if not isinstance(facts, dict) or not isinstance(facts.get("bytes"), int) or not isinstance(facts.get("sha256"), str):
            return f"manifest.json has no usable entry for {name}"
    return manifest


def problem_of(folder: Path, key: str | None = None) -> str | None:
    """Why a stage folder cannot be trusted, or None if it is sound. ``key``: what its manifest must say."""
    manifest = read_manifest(folder)
    if isinstance(manifest, str):
        return manifest
    if key is not None and manifest["key"] != key:
        return f"manifest.json is that of {manifest['key']}"
    for name, facts in manifest["files"].items():
        path = folder / name
        try:
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has another size"
            if facts["bytes"] <= FULL_HASH_LIMIT and file_hash(path) != facts["sha256"]:
                return f"{name} has another checksum"
        except (OSError, ValueError) as error:
            return f"{name} cannot be read ({type(error).__name__})"
    return None


def explain_disk_error(error: BaseException, where: Path) -> StoreError | None:
    """A StoreError if ``error`` was caused by a full or read-only disk, else None. Libraries wrap the errno in errors of their own."""
    seen: BaseException | None = error
    while seen is not None:
        code, text = getattr(seen, "errno", None), str(seen)
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text or "os error 28" in text:
            return StoreError(f"disk full while writing {where}: free some space and run the same command again, it resumes")
        if code in (errno.EROFS, errno.EACCES, errno.EPERM):
            return StoreError(
                f"cannot write {getattr(seen, 'filename', None) or where}: make it writable, or choose another folder with paths.outputs=..."
            )
        seen = seen.__cause__ or seen.__context__
    try:
        free = shutil.disk_usage(where if where.exists() else where.parent).free
    except OSError:
        return None
    if free < 2**20 and isinstance(error, (OSError, RuntimeError)):  # torch.save reports a full disk as a bare RuntimeError
        return StoreError(f"disk full while writing {where}: free some space and run the same command again, it resumes")
    return None


class Store:
    """Finished stages below ``root``. ``user``: folder of the cell that uses them, while which exists they are not collected.

    Raises:
        StoreError: ``root`` cannot be created or written.
    """

    def __init__(self, root: str | Path, user: Path | None = None) -> None:
        self.root, self.user = Path(root).expanduser().resolve(), user
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex}"  # pids are equal on other nodes
            probe.write_text("")
            probe.unlink()
            if self.root.stat().st_mode & stat.S_IWGRP:  # shared by a group: so is all that this process makes in it
                os.umask(os.umask(0) & ~0o070)
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(
                f"paths.store={str(root)!r} cannot be written ({reason}): choose another folder with paths.outputs=..."
            ) from None

    def path(self, stage: Stage) -> Path:
        return self.root / stage.name / stage.key

    def get(self, stage: Stage) -> Built | None:
        """The finished and sound stage, or None. Touches nothing."""
        path = self.path(stage)
        if not path.exists() or problem_of(path, stage.key) is not None:
            return None
        manifest = read_manifest(path)
        return None if isinstance(manifest, str) else Built(stage, path, True, manifest["seconds"], manifest)

    def _remove_if_corrupt(self, stage: Stage) -> None:
        """Under the lock only: outside of it, another process may just be rebuilding the stage."""
        path = self.path(stage)
        problem = problem_of(path, stage.key) if path.exists() else None
        if problem is not None:
            log.warning("store: %s/%s is corrupt (%s); it is removed and built again", stage.name, stage.key, problem)
            doomed = path.with_name(f".{stage.key}.corrupt-{os.getpid()}")
            path.rename(doomed)
            remove(doomed)

    def get_or_build(self, stage: Stage, build: Callable[[Path], dict[str, Any] | None]) -> Built:
        """The finished stage; if there is none, ``build(work_folder)`` makes it and may return facts for the manifest.

        Blocks while another live process builds the same stage, then reuses its result.

        Raises:
            StoreError: disk full or not writable; the work folder stays for the next try.
        """
        if self.user is not None:
            from repro.store import gc

            try:
                gc.register(self.root, self.user, stage.name, stage.key)
            except OSError as error:
                raise explain_disk_error(error, self.root) or error from error
        found = self.get(stage)
        if found is not None:
            return found
        folder, work = self.root / stage.name, self.root / stage.name / f".{stage.key}.work"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with Lock(folder / f".{stage.key}.lock", what=f"{stage.name}/{stage.key}") as lock:
                os.listdir(folder)  # NFS looks anew for names that it remembers not to be there
                found = self.get(stage)  # another process may have finished while we waited
                if found is not None:
                    return found
                self._remove_if_corrupt(stage)
                if closed_to_me(work):
                    log.warning("store: what another user left of %s/%s is closed to this one; it is begun anew", stage.name, stage.key)
                    shutil.rmtree(work)
                if work.exists() and not work.is_dir():
                    remove(work)
                (work / RESUME).mkdir(parents=True, exist_ok=True)
                return self._build(stage, work, build, lock)
        except LockLost as error:
            log.warning("store: %s; waiting for the other's result", error)
            return self.get_or_build(stage, build)
        except Exception as error:  # SafetensorError derives from Exception only
            explained = explain_disk_error(error, work)
            if explained is None:
                raise
            raise explained from error

    def _build(self, stage: Stage, work: Path, build: Callable[[Path], dict[str, Any] | None], lock: Lock) -> Built:
        from repro.manifest import environment

        manifest = read_manifest(work)
        if isinstance(manifest, str) or problem_of(work, stage.key) is not None:  # else: killed between manifest and rename
            (work / MANIFEST).unlink(missing_ok=True)
            clock = Stopwatch(work / RESUME)
            try:
                facts = build(work) or {}
            finally:
                clock.stop()
            usual_modes(work)
            manifest = {
                "stage": stage.name,
                "key": stage.key,
                "version": stage.version,
                "config": stage.config,
                "inputs": stage.inputs,
                "seconds": round(clock.seconds, 3),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                **facts,
                "environment": environment(),
                "files": list_files(work),
            }
            if not manifest["files"]:
                raise RuntimeError(f"the stage {stage.name} made no files")
            lock.check()
            draft = work / RESUME / MANIFEST
            with draft.open("w") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, work / MANIFEST)
        lock.check()
        shutil.rmtree(work / RESUME, ignore_errors=True)
        work.rename(self.path(stage))
        return Built(stage, self.path(stage), False, manifest["seconds"], manifest)
