"""The store: build once, resume, publish whole, notice damage, wait for the living and not for the dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.lock import Lock
from repro.store import Stage, Store, StoreError, explain_disk_error, problem_of

STAGE = Stage("toy", {"a": 1}, {}, 1)


def write_hello(work: Path) -> dict:
    (work / "hello.txt").write_text("hello")
    return {"tokens": 5}


def test_builds_once_and_reuses(tmp_path) -> None:
    store = Store(tmp_path)
    first = store.get_or_build(STAGE, write_hello)
    again = store.get_or_build(STAGE, lambda work: pytest.fail("built twice"))
    assert (first.reused, again.reused) == (False, True)
    assert first.path == again.path and (first.path / "hello.txt").read_text() == "hello"
    assert again.manifest["tokens"] == 5 and again.manifest["environment"]["python"]


def test_key_depends_on_all_that_is_read() -> None:
    others = [
        Stage("toy", {"a": 2}, {}, 1),
        Stage("toy", {"a": 1}, {"model": "x"}, 1),
        Stage("toy", {"a": 1}, {}, 2),
        Stage("top", {"a": 1}, {}, 1),
    ]
    assert len({STAGE.key, *(s.key for s in others)}) == 5
    assert Stage("toy", {"b": 1, "a": 2}, {}, 1).key == Stage("toy", {"a": 2, "b": 1}, {}, 1).key


def test_a_failed_build_publishes_nothing_and_leaves_its_work(tmp_path) -> None:
    store = Store(tmp_path)

    def fails(work: Path) -> None:
        (work / "half").write_text("1")
        raise KeyError("bug")

    with pytest.raises(KeyError):
        store.get_or_build(STAGE, fails)
    assert store.get(STAGE) is None

    def resumes(work: Path) -> None:
        assert (work / "half").exists()

    assert not store.get_or_build(STAGE, resumes).reused


@pytest.mark.parametrize("damage", ["change", "remove", "truncate", "manifest", "no manifest"])
def test_damage_is_noticed_said_and_mended(tmp_path, caplog, damage: str) -> None:
    store = Store(tmp_path)
    path = store.get_or_build(STAGE, write_hello).path
    if damage == "change":
        (path / "hello.txt").write_text("hallo")
    elif damage == "remove":
        (path / "hello.txt").unlink()
    elif damage == "truncate":
        (path / "hello.txt").write_text("")
    elif damage == "manifest":
        (path / "manifest.json").write_text("{")
    else:
        (path / "manifest.json").unlink()
    built = store.get_or_build(STAGE, write_hello)
    assert not built.reused and problem_of(built.path) is None
    assert "corrupt" in caplog.text and "toy/" in caplog.text


def test_unwritable_folder_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"paths\.store=.* cannot be written .*paths\.outputs="):
        Store(tmp_path / "file" / "store")


def test_full_disk_is_told_from_a_bug(tmp_path) -> None:
    import errno

    wrapped = RuntimeError("write failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "disk full" in str(explain_disk_error(wrapped, tmp_path))
    assert explain_disk_error(RuntimeError("shape mismatch"), tmp_path) is None


def _build_slowly(root: str, log: str) -> None:
    def build(work: Path) -> None:
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.5)

    Store(root).get_or_build(STAGE, build)


def test_two_processes_build_one_stage_once(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_build_slowly, args=(str(tmp_path / "s"), str(tmp_path / "log"))) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    assert (tmp_path / "log").read_text() == "built\n"


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path) -> None:
    path = tmp_path / "lock"
    code = f"import time; from pathlib import Path; from repro.lock import Lock; Lock(Path({str(path)!r}), 'x').__enter__(); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert json.loads(path.read_text())["pid"] == holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    start = time.monotonic()
    with Lock(path, "x"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < 5
    assert not path.exists()


def test_a_lock_from_another_host_is_stale_without_heartbeat_only(tmp_path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"token": "t", "host": socket.gethostname() + "-other", "pid": 1, "start": 0.0}))
    lock = Lock(path, "x")
    assert not lock._is_stale(*lock._holder())
    os.utime(path, (time.time() - 3600,) * 2)
    with lock:
        pass
