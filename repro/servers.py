"""A vLLM server beside the RL stage: started on GPUs of its own, waited for until it is healthy, watched, and stopped with the stage.

``rl.engine=vllm_server resources.server_gpus=N``. On one node it takes the node's last N GPUs; over several, the last node, where training then
does not run. A server that does not become healthy, or dies while the stage runs, fails the stage with the end of its log. Tested with
a stand-in process; vLLM itself has not been run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repro.config import ConfigError

URL = "REPRO_VLLM_URL"  # environment variable: where the trainer finds the server
HEALTHY_WITHIN = 1800.0  # seconds; loading an 8B model from a cold network disk takes minutes
Watch = Callable[[subprocess.Popen], int]


def vllm_command(model: Path, port: int, gpus: int, settings: dict[str, Any]) -> list[str]:
    """Return the command of TRL's server, which takes weights from the trainer.

    Args:
        model: folder of the checkpoint.
        port: to listen on.
        gpus: of the server; ``rl.vllm.tensor_parallel`` of them share one engine.
        settings: the section ``rl.vllm``. Source: https://huggingface.co/docs/trl/vllm_integration

    Raises:
        ConfigError: the GPUs do not divide into engines.
    """
    engines, rest = divmod(gpus, settings["tensor_parallel"])
    if rest:
        raise ConfigError(
            f"rl.vllm.tensor_parallel={settings['tensor_parallel']} is not possible: it must divide resources.server_gpus={gpus}"
        )
    place = ["--host", "0.0.0.0", "--port", str(port), "--data_parallel_size", str(engines)]
    place += ["--tensor_parallel_size", str(settings["tensor_parallel"])]
    place += ["--gpu_memory_utilization", str(settings["server_memory_share"])]
    place += ["--max_model_len", str(settings["max_length"])] if settings["max_length"] else []
    place += ["--enforce_eager", "true"] if settings["eager"] else []
    return [sys.executable, "-m", "trl.cli", "vllm-serve", "--model", str(model), *place]


class Server:
    """One server process. ``command``: its command line; ``url``: where it answers ``/health/``."""

    def __init__(self, command: list[str], url: str, environment: dict[str, str]) -> None:
        from repro.sweep.supervise import die_with_parent

        self.url = url
        self.log = Path(tempfile.mkstemp(prefix="vllm-server-", suffix=".log")[1])
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call
            )

    def wait_until_healthy(self, limit: float = HEALTHY_WITHIN) -> None:
        """Raises RuntimeError with the end of its log if it ends, or does not answer in time."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.url}/health/", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.5)
        raise RuntimeError(f"the vLLM server did not become healthy within {limit:.0f} s: {self._end()}")

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the vLLM server ended with exit code {self.process.returncode}: {self._end()}")

    def _end(self) -> str:
        from repro.sweep.supervise import tail

        return " / ".join(tail(self.log, 3)) or "it wrote nothing"

    def stop(self, patience: float = 10.0) -> None:
        """End it and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.unlink(missing_ok=True)


@contextlib.contextmanager
def serving(
    stage: str, config: dict[str, Any], model: Path, command: Callable[[Path, int, int, dict[str, Any]], list[str]] = vllm_command
) -> Iterator[Watch]:
    """While the body runs, the server that the stage needs, if it needs one; yields the way to wait for the stage's processes."""
    gpus = config["resources"]["server_gpus"] if stage == "rl" else 0
    if not gpus:
        yield lambda process: process.wait()
        return
    from repro.launch import free_port

    port, nodes = free_port(), config["resources"]["rl"]["nodes"]
    line, environment, host = command(model, port, gpus, config["rl"]["vllm"]), dict(os.environ), "127.0.0.1"
    if nodes > 1:
        host = _nodes()[-1]
        line = ["srun", "--nodes=1", "--ntasks=1", f"--nodelist={host}", "--overlap", "--kill-on-bad-exit=1", *line]
    else:
        visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(config["resources"]["rl"]["gpus"])))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible[-gpus:])
    before = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", URL)}
    server = Server(line, f"http://{host}:{port}", environment)
    try:
        server.wait_until_healthy()
        os.environ[URL] = server.url
        if nodes == 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[:-gpus])
        yield lambda process: _wait(process, server)
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _wait(process: subprocess.Popen, server: Server) -> int:
    """Exit code of the stage's processes; a server that dies meanwhile is what is reported, not their time-outs."""
    while True:
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            server.check()


def _nodes() -> list[str]:
    done = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()
