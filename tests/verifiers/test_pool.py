"""Worker processes: killed at the deadline, replaced, never left behind, usable from anywhere."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from repro.verifiers import Verifier
from repro.verifiers.pool import Pool

HARD = ("\\int_0^1 x dx", "\\boxed{\\frac{1}{2}}")  # needs a worker


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 15.0) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, deadline=3.0) as found:
        yield found


def test_compares(pool) -> None:
    outcomes = [o for o, _ in pool.compare([("\\int_0^1 x dx", "\\frac{1}{2}"), ("\\int_0^1 x dx", "\\frac{1}{3}"), ("\\sum", "\\int")])]
    assert outcomes[:2] == ["equal", "different"] and outcomes[2] not in ("equal",)


@pytest.mark.timeout(120)  # a pool without a deadline would wait for ever
def test_a_stuck_worker_is_killed_at_its_deadline_and_replaced(pool) -> None:
    """A worker that is stopped never answers: only a kill ends it."""
    pool.compare([("\\int_0^1 x dx", "1")])
    stopped = pool.pids()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    outcomes = [o for o, _ in pool.compare([("\\int_0^1 x dx", "\\frac{1}{2}")])]
    assert outcomes == ["timeout"] and pool.kills >= 1
    assert [o for o, _ in pool.compare([("\\int_0^1 x dx", "\\frac{1}{2}")] * 3)] == ["equal"] * 3 or wait_until(
        lambda: [o for o, _ in pool.compare([("\\int_0^1 x dx", "\\frac{1}{2}")] * 3)] == ["equal"] * 3
    )
    assert wait_until(lambda: not any(alive(pid) and pid in pool.pids() for pid in stopped[:1]))


def test_a_worker_that_dies_is_an_outcome_not_a_crash(pool) -> None:
    pool.compare([("\\int_0^1 x dx", "1")] * 2)
    for pid in pool.pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert wait_until(lambda: [o for o, _ in pool.compare([("\\int_0^1 x dx", "\\frac{1}{2}")])] == ["equal"])


def test_from_threads_and_asyncio() -> None:
    with Verifier(workers=2, deadline=20) as verifier:  # this is not about time, and the machine may be busy
        found: list[bool] = []
        threads = [threading.Thread(target=lambda: found.append(verifier.verify(*HARD).correct)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [True] * 6

        async def several() -> list[bool]:
            verdicts = await asyncio.gather(*(asyncio.to_thread(verifier.verify, *HARD) for _ in range(3)))
            return [v.correct for v in verdicts] + [verifier.verify(*HARD).correct]

        assert asyncio.run(several()) == [True] * 4


def _verify(verifier: Verifier, results) -> None:
    results.put(verifier.verify("\\int_0^1 2x dx", "\\boxed{\\int_0^1 1 dx}").correct)
    verifier.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_from_other_processes(method: str) -> None:
    context = multiprocessing.get_context(method)
    with Verifier(workers=1, cache_size=0, deadline=20) as verifier:
        assert verifier.verify(*HARD).correct  # the parent's pool is open when the child starts
        results = context.Queue()
        child = context.Process(target=_verify, args=(verifier, results))
        child.start()
        assert results.get(timeout=90) is True
        child.join(30)
        assert child.exitcode == 0
        assert verifier.verify(*HARD).correct  # and still works afterwards


def test_nothing_outlives_a_killed_parent() -> None:
    code = (
        "from repro.verifiers.pool import Pool; import time\n"
        "p = Pool(workers=2); p.compare([('\\\\int_0^1 x dx', '1')] * 2)\n"
        "print(p._process.pid, *p.pids(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) >= 2 and all(map(alive, pids))
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not any(map(alive, pids)))


def test_a_batch_with_bombs_keeps_its_workers_and_its_answers() -> None:
    pairs = [
        ("\\int_0^1 x dx", "\\boxed{\\frac{1}{2}}") if i % 20 else ("7", "\\boxed{\\int_0^1 " + "\\sin(" * 9 + "x" + ")" * 9 + " dx}")
        for i in range(60)
    ]
    with Verifier(workers=2, cache_size=0, deadline=3) as verifier:
        verdicts = verifier.verify_batch([g for g, _ in pairs], [o for _, o in pairs])
        assert [v.correct for v in verdicts] == [bool(i % 20) for i in range(60)]
        assert verifier.verify(*HARD).correct
