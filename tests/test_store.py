"""The store: build once, resume, publish whole, notice damage, wait for the living and not for the dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
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
        assert (work / "half").exists()  # and it is part of the stage now

    assert not store.get_or_build(STAGE, resumes).reused


@pytest.mark.parametrize(
    "damage", ["change", "remove", "truncate", "manifest", "no manifest", "null", "[]", '{"files": []}', '{"key": 1}', "[" * 100_000]
)
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
    elif damage == "no manifest":
        (path / "manifest.json").unlink()
    else:
        (path / "manifest.json").write_text(damage)
    built = store.get_or_build(STAGE, write_hello)
    assert not built.reused and problem_of(built.path) is None
    assert "corrupt" in caplog.text and "toy/" in caplog.text


def test_a_manifest_of_another_stage_or_without_its_files_is_damage(tmp_path, caplog) -> None:
    store = Store(tmp_path)
    path = store.get_or_build(STAGE, write_hello).path
    text = json.loads((path / "manifest.json").read_text())
    changes = ({"key": "0" * 16}, {"files": {}}, {"seconds": "long"}, {"files": {"hello.txt": 5}}, {"environment": {}})
    for change in changes:
        (path / "manifest.json").write_text(json.dumps({**text, **change}))
        assert store.get(STAGE) is None and path.exists()  # outside the lock nothing is touched
        assert not store.get_or_build(STAGE, write_hello).reused
    assert caplog.text.count("corrupt") == len(changes)


def test_files_where_folders_should_be(tmp_path) -> None:
    store = Store(tmp_path)
    path = store.get_or_build(STAGE, write_hello).path
    shutil.rmtree(path)
    path.write_text("")
    (path.parent / f".{path.name}.work").write_text("")
    assert not store.get_or_build(STAGE, write_hello).reused
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def _mend(root: str, log: str) -> None:
    _build_slowly(root, log)


def test_two_processes_mend_one_damaged_stage_once(tmp_path) -> None:
    """The one that comes second must neither remove what the first just built nor trip over what it removed."""
    root, log = tmp_path / "s", tmp_path / "log"
    store = Store(root)
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        store.get_or_build(STAGE, write_hello)
        (store.path(STAGE) / "manifest.json").write_text("null")
        log.write_text("")
        jobs = [context.Process(target=_mend, args=(str(root), str(log))) for _ in range(3)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(60)
            assert job.exitcode == 0
        assert log.read_text() == "built\n" and problem_of(store.path(STAGE), STAGE.key) is None


@pytest.mark.parametrize("moment", ["after the manifest", "after removing what resuming needs"])
def test_a_kill_between_build_and_publication_redoes_nothing(tmp_path, moment: str) -> None:
    """The process dies by SIGKILL at the moment; the next one publishes what is there."""
    code = f"""
import os, shutil, signal
from pathlib import Path
from repro import store
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "after the manifest":
    store.shutil.rmtree = die
else:
    Path.rename = die
def build(work):
    (work / "hello.txt").write_text("hello")
    return {{"tokens": 5}}
store.Store({str(tmp_path)!r}).get_or_build(store.Stage("toy", {{"a": 1}}, {{}}, 1), build)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    built = Store(tmp_path).get_or_build(STAGE, lambda work: pytest.fail("built twice"))
    assert built.manifest["tokens"] == 5 and problem_of(built.path, STAGE.key) is None
    assert sorted(p.name for p in built.path.iterdir()) == ["hello.txt", "manifest.json"]


def test_seconds_of_a_killed_try_are_counted(tmp_path) -> None:
    code = f"""
import os, signal, time
from repro import store
store.Stopwatch.EVERY = 0.1
def build(work):
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)
store.Store({str(tmp_path)!r}).get_or_build(store.Stage("toy", {{"a": 1}}, {{}}, 1), build)
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert 0.7 < Store(tmp_path).get_or_build(STAGE, write_hello).seconds < 10


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
        (work / "made").write_text("1")

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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("content", ["", "garbage", "null", "[]", '{"token": 1}', '{"token": "t", "host": "h", "pid": "x"}', "a folder"])
def test_a_lock_file_that_says_nothing_is_waited_for_and_then_taken_over(tmp_path, monkeypatch, content: str) -> None:
    path = tmp_path / "lock"
    if content == "a folder":
        path.mkdir()
    else:
        path.write_text(content)
    lock = Lock(path, "x")
    assert not lock._is_stale(*lock._holder())
    os.utime(path, (time.time() - 3600,) * 2)  # a clock that differs by an hour says nothing
    assert not lock._is_stale(*lock._holder())
    monkeypatch.setattr("repro.lock.STALE", 1.0)
    with lock:
        assert json.loads(path.read_text())["token"] == lock.token
    assert list(tmp_path.iterdir()) == []


def test_the_same_pid_in_another_container_is_not_the_holder(tmp_path, monkeypatch) -> None:
    """Two containers may share the host name; the pid of one says nothing in the other, so only the heartbeat counts."""
    from repro import lock as module

    path = tmp_path / "lock"
    holder = Lock(path, "x")
    monkeypatch.setattr(module, "host_name", lambda: f"{socket.gethostname()} pid:[1]")
    holder.__enter__()
    monkeypatch.setattr(module, "host_name", lambda: f"{socket.gethostname()} pid:[2]")
    monkeypatch.setattr(module, "process_start", lambda pid: None)  # it does not run here
    other = Lock(path, "x")
    assert not other._is_stale(*other._holder())
    holder.__exit__()


def test_a_lock_from_another_host_is_stale_without_heartbeat_only(tmp_path, monkeypatch) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"token": "t", "host": socket.gethostname() + "-other", "pid": 1, "start": 0.0}))
    lock = Lock(path, "x")
    assert not lock._is_stale(*lock._holder())
    os.utime(path, (time.time() - 3600,) * 2)  # a clock that differs by an hour says nothing
    assert not lock._is_stale(*lock._holder())
    monkeypatch.setattr("repro.lock.STALE", 1.0)
    with lock:
        pass


def test_a_holder_with_a_wrong_clock_that_beats_is_never_taken_over(tmp_path, monkeypatch) -> None:
    """Nodes whose clocks differ by minutes: what counts is whether the beat moves while a waiter looks."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({"token": "t", "host": socket.gethostname() + "-other", "pid": 1, "start": 0.0}))
    monkeypatch.setattr("repro.lock.STALE", 0.5)
    lock = Lock(path, "x")
    for beat in range(8):
        os.utime(path, (time.time() - 600 + beat,) * 2)
        assert not lock._is_stale(*lock._holder())
        time.sleep(0.15)
    time.sleep(0.6)
    assert lock._is_stale(*lock._holder())


def test_a_holder_whose_lock_was_taken_over_publishes_nothing_and_takes_the_others_result(tmp_path) -> None:
    store = Store(tmp_path)
    lock = tmp_path / "toy" / f".{STAGE.key}.lock"

    def frozen(work: Path) -> None:  # while it was frozen, another took the lock, built and published
        lock.unlink()
        shutil.rmtree(work)
        Store(tmp_path).get_or_build(STAGE, write_hello)
        work.mkdir()
        (work / "hello.txt").write_text("stale")

    built = store.get_or_build(STAGE, frozen)
    assert built.reused and (built.path / "hello.txt").read_text() == "hello"


def test_an_answer_to_link_that_got_lost_is_not_a_refusal(tmp_path, monkeypatch) -> None:
    link = os.link

    def twice(source, target) -> None:
        link(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", twice)
    with Lock(tmp_path / "lock", "x") as lock:
        lock.check()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links(tmp_path, monkeypatch) -> None:
    def none(source, target) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with Lock(tmp_path / "lock", "x") as lock:
        lock.check()
        assert not Lock(tmp_path / "lock", "y")._try()
    assert list(tmp_path.iterdir()) == []


def test_verify_names_damage_and_ls_lists(tmp_path, capsys) -> None:
    from repro.store import __main__ as command

    path = Store(tmp_path).get_or_build(STAGE, write_hello).path
    assert command.verify(tmp_path) == 0 and command.ls(tmp_path) == 0
    assert f"toy/{STAGE.key}" in capsys.readouterr().out
    (path / "hello.txt").write_text("hallo")
    assert command.verify(tmp_path) == 1 and "hello.txt has another checksum" in capsys.readouterr().out
