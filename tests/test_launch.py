"""How many processes train, and on what: counted once, never more than GPUs, and one GPU to a process."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from transformers import TrainingArguments

from repro import launch, servers, training
from repro.config import ConfigError, plain
from tests.test_config import composed


def spawned(monkeypatch, gpus: int, *overrides: str) -> int:
    """Processes that the RL stage is spread over, where a server's GPUs are out of sight while it serves."""
    seen, config = {"gpus": gpus}, plain(composed(*overrides))

    @contextlib.contextmanager
    def serving(stage, config, model):
        seen["gpus"] -= config["resources"]["server_gpus"]
        yield subprocess.Popen.wait

    monkeypatch.setattr(launch, "gpus", lambda: seen["gpus"])
    monkeypatch.setattr(servers, "serving", serving)
    monkeypatch.setattr(launch, "run", lambda *_: 1)
    monkeypatch.setattr(launch, "_spawn", lambda stage, config, *_: launch.process_count(config, stage))
    return launch.build("rl", config, Path("start"), Path("work"), "test")


@pytest.mark.parametrize(
    ("gpus", "overrides", "count"),
    [
        (0, ["launch.processes=4"], 4),
        (4, [], 4),
        (8, ["rl.engine=vllm_server", "resources.rl.gpus=8", "resources.server_gpus=4"], 4),
        (8, ["rl.engine=vllm_server", "resources.rl.gpus=8", "resources.server_gpus=2", "launch.processes=6", "rl.group_size=6"], 6),
        (8, ["rl.engine=vllm_server", "resources.rl.gpus=8", "resources.server_gpus=7"], 1),
    ],
)
def test_a_process_a_gpu_that_no_server_takes(monkeypatch, gpus, overrides, count) -> None:
    assert spawned(monkeypatch, gpus, "rl=ppo", "launch=ddp", *overrides) == count


@pytest.mark.parametrize(
    ("gpus", "overrides", "message"),
    [
        (1, ["launch.processes=2"], "at most 1,"),
        (8, ["launch.processes=8", "rl.engine=vllm_server", "resources.rl.gpus=8", "resources.server_gpus=4"], "4 GPUs a node.*at most 4,"),
    ],
)
def test_more_processes_than_gpus_are_refused(monkeypatch, gpus, overrides, message) -> None:
    with pytest.raises(ConfigError, match=f"launch.processes=.*{message}"):
        spawned(monkeypatch, gpus, "rl=ppo", "launch=ddp", *overrides)


def test_a_process_that_sees_several_gpus_keeps_its_batch(tmp_path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
    arguments._n_gpu = 4  # as transformers counts what it sees
    assert arguments.train_batch_size == 32
    training.one_gpu(arguments)
    assert arguments.train_batch_size == 8 and arguments.n_gpu == 1
