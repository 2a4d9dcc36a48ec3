"""Two users on one store (root only: it takes two users). A store that the group may write is everybody's; another is refused in one line."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from repro.manifest import environment
from repro.store import Stage, Store, StoreError
from tests.conftest import SHRINK, repro

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be two users")
GROUP = 60000
STAGE = Stage("sft", {"a": 1}, {}, 1)


def as_user(user: int, work) -> str:
    """What ``work`` returned in a process of another user of the group, or its error."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(0o022)
            os.setgroups([GROUP])
            os.setgid(user)
            os.setuid(user)
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


@pytest.fixture
def store(tmp_path) -> Path:
    environment()  # imports what it needs: Python's own files may be closed to others
    for folder in [tmp_path, *tmp_path.parents][:-2]:  # pytest's own folders are closed to others
        folder.chmod(folder.stat().st_mode | 0o055)
    folder = tmp_path / "store"
    folder.mkdir()
    os.chown(folder, 60001, GROUP)
    folder.chmod(0o2775)
    return folder


def build(work: Path) -> None:
    (work / "model").mkdir(exist_ok=True)
    (work / "model" / "weights").write_text("same")


def die(work: Path) -> None:
    build(work)
    (work / ".resume" / "checkpoint").write_text("1")
    os._exit(0)  # without a word: lock and work stay


def test_one_builds_the_other_reuses_and_takes_over_what_the_first_left(store) -> None:
    assert as_user(60001, lambda: Store(store).get_or_build(STAGE, build).reused) == "False"
    assert as_user(60002, lambda: Store(store).get_or_build(STAGE, build).reused) == "True"
    other = Stage("sft", {"a": 2}, {}, 1)
    as_user(60001, lambda: Store(store).get_or_build(other, die))
    assert list(store.glob("sft/.*.lock"))
    start = time.monotonic()

    def go_on(work: Path) -> None:
        assert (work / ".resume" / "checkpoint").read_text() == "1"
        (work / ".resume" / "checkpoint").write_text("2")
        (work / "model" / "weights").write_text("same again")

    assert as_user(60002, lambda: Store(store).get_or_build(other, go_on).reused) == "False"
    assert time.monotonic() - start < 30  # a dead process of another user on this host is seen at once
    assert as_user(60001, lambda: Store(store).get_or_build(other, build).reused) == "True"


def test_what_another_user_left_closed_is_begun_anew(store) -> None:
    def leave(work: Path) -> None:
        (work / ".resume" / "weights").write_text("1")
        (work / ".resume" / "weights").chmod(0o600)  # as safetensors does
        os._exit(0)

    def begin(work: Path) -> None:
        assert not (work / ".resume" / "weights").exists()
        build(work)

    as_user(60001, lambda: Store(store).get_or_build(STAGE, leave))
    assert as_user(60002, lambda: Store(store).get_or_build(STAGE, begin).reused) == "False"


def test_a_store_of_one_user_is_refused_to_the_other_in_one_line(store) -> None:
    store.chmod(0o755)
    as_user(60001, lambda: Store(store).get_or_build(STAGE, build))
    said = as_user(60002, lambda: Store(store))
    assert said.startswith(StoreError.__name__) and "Permission denied" in said and str(store) in said


def test_all_that_a_cell_makes_in_a_groups_store_is_the_groups(store, tmp_path) -> None:
    repro(*SHRINK, "sft=long", f"paths.store={store}", cwd=tmp_path)
    made = list(store.rglob("*"))
    assert len(made) > 30
    closed = [path for path in made if not path.stat().st_mode & stat.S_IWGRP or path.stat().st_gid != GROUP]
    assert not closed, closed
