"""The server beside a stage, with a stand-in process in the place of vLLM: started, waited for, watched, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from repro import servers
from repro.config import ConfigError

# Answers /health/ after a while, like a server that loads a model, and has a child of its own, like vLLM's workers.
STAND_IN = """
import http.server, os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
if sys.argv[3] == "dies":
    print("CUDA out of memory", flush=True)
    os._exit(3)
time.sleep(0.5)
start = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = sys.argv[3] != "never" and time.monotonic() - start > 1
        self.send_response(200 if ready and self.path == "/health/" else 503)
        self.end_headers()
    def log_message(self, *a):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
VLLM = {"tensor_parallel": 1, "server_memory_share": 0.9, "max_length": None, "eager": False}
CONFIG = {"resources": {"server_gpus": 1, "rl": {"nodes": 1, "gpus": 4}}, "rl": {"vllm": VLLM}}


def stand_in(facts: Path, how: str = "works"):
    return lambda model, port, gpus, settings: [sys.executable, "-c", STAND_IN, str(port), str(facts), how]


def alive(facts: Path) -> list[int]:
    pids = [int(text) for text in facts.read_text().split()[:2]]
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def gone(facts: Path) -> bool:
    for _ in range(50):
        if not alive(facts):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(autouse=True)
def _four_gpus(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


def test_it_is_healthy_inside_has_the_last_gpu_and_is_gone_afterwards(tmp_path) -> None:
    facts = tmp_path / "facts"
    with servers.serving("rl", CONFIG, tmp_path, stand_in(facts)) as watch:
        assert os.environ[servers.URL].startswith("http://127.0.0.1:") and os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"
        assert facts.read_text().split()[2] == "3" and len(alive(facts)) == 2
        assert watch(subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])) == 7
    assert gone(facts)
    assert servers.URL not in os.environ and os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"


def test_a_stage_that_raises_leaves_no_server(tmp_path) -> None:
    facts = tmp_path / "facts"
    with pytest.raises(KeyError), servers.serving("rl", CONFIG, tmp_path, stand_in(facts)):
        raise KeyError("bug")
    assert gone(facts)


def test_a_server_that_dies_at_once_is_reported_with_its_last_words(tmp_path) -> None:
    facts = tmp_path / "facts"
    with (
        pytest.raises(RuntimeError, match="exit code 3: CUDA out of memory"),
        servers.serving("rl", CONFIG, tmp_path, stand_in(facts, "dies")),
    ):
        pytest.fail("the stage began")
    assert gone(facts)


def test_a_server_that_dies_under_the_stage_is_what_fails_it(tmp_path) -> None:
    facts = tmp_path / "facts"
    stage = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with (
            pytest.raises(RuntimeError, match="the vLLM server ended with exit code -9"),
            servers.serving("rl", CONFIG, tmp_path, stand_in(facts)) as watch,
        ):
            os.kill(int(facts.read_text().split()[0]), 9)
            watch(stage)
    finally:
        stage.kill()
        stage.wait()
    assert gone(facts)


def test_a_server_that_never_becomes_healthy_is_given_up(tmp_path, monkeypatch) -> None:
    facts = tmp_path / "facts"
    wait = servers.Server.wait_until_healthy
    monkeypatch.setattr(servers.Server, "wait_until_healthy", lambda self: wait(self, 3.0))
    with (
        pytest.raises(RuntimeError, match="did not become healthy within 3 s"),
        servers.serving("rl", CONFIG, tmp_path, stand_in(facts, "never")),
    ):
        pytest.fail("the stage began")
    assert gone(facts)


def test_no_server_without_gpus_of_its_own(tmp_path) -> None:
    config = {"resources": {**CONFIG["resources"], "server_gpus": 0}}
    with servers.serving("rl", config, tmp_path, lambda *_: pytest.fail("started")) as watch:
        assert watch(subprocess.Popen(["true"])) == 0


def test_a_killed_cell_takes_its_server_along(tmp_path) -> None:
    facts = tmp_path / "facts"
    code = f"""
import os, signal
from pathlib import Path
from repro import servers
from tests.test_servers import CONFIG, stand_in
with servers.serving("rl", CONFIG, Path("."), stand_in(Path({str(facts)!r}))):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    pid = int(facts.read_text().split()[0])
    for _ in range(50):
        if pid not in alive(facts):
            break
        time.sleep(0.1)
    server = pid in alive(facts)
    for left in alive(facts):  # its child: only the server itself is tied to the cell by the kernel
        os.kill(left, 9)
    assert not server


def test_the_keys_of_the_engine_reach_the_server() -> None:
    line = servers.vllm_command(Path("m"), 80, 4, VLLM)
    assert line[line.index("--data_parallel_size") + 1] == "4"
    assert line[line.index("--gpu_memory_utilization") + 1] == "0.9"
    assert "--max_model_len" not in line and "--enforce_eager" not in line
    changed = {**VLLM, "tensor_parallel": 2, "max_length": 99, "eager": True}
    line = servers.vllm_command(Path("m"), 80, 4, changed)
    for name, value in {
        "--data_parallel_size": "2",
        "--tensor_parallel_size": "2",
        "--max_model_len": "99",
        "--enforce_eager": "true",
    }.items():
        assert line[line.index(name) + 1] == value
    with pytest.raises(ConfigError, match=r"tensor_parallel=3 .*server_gpus=4"):
        servers.vllm_command(Path("m"), 80, 4, {**VLLM, "tensor_parallel": 3})


def test_every_option_is_one_of_the_installed_server() -> None:
    import importlib.util

    source = Path(importlib.util.find_spec("trl").origin).parent / "scripts" / "vllm_serve.py"
    text = source.read_text()  # it cannot be imported without vLLM
    line = servers.vllm_command(Path("m"), 80, 4, {**VLLM, "max_length": 99, "eager": True})
    for option in (word for word in line if word.startswith("--")):
        assert f"    {option.removeprefix('--')}: " in text, option
