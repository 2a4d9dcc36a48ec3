"""Training that stops after every step goes on to the same bits, in every pass over the data."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from trl.trainer.utils import RepeatSampler

from repro import interrupt, launch, sft
from repro.checkpoints import OrderOfEpoch
from repro.config import ConfigError, plain
from repro.rl.prompt_order import PromptOrder, further_prompts, pass_order
from repro.validate import validate
from tests.conftest import SHRINK
from tests.rl.small import REWARD, assert_same_weights, train
from tests.test_config import composed

CLOCKS = ("time", "runtime", "per_second", "gpu_gib")
# Two rollouts per pass and a prompt left over, three passes.
PASSES = ["data.train_size=5", "rl.steps=6", "rl.kl=0.05", "rl.warmup=0.3"]
UPDATES = ["rl.epochs=2", "rl.minibatches=2"]


def without_clocks(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if not any(c in k for c in CLOCKS)} for row in rows]


def stopped_after_every_step(monkeypatch, run, steps: int):
    """Call ``run`` once per step; it is asked to stop after each one but the last."""
    for _ in range(steps - 1):
        with monkeypatch.context() as patch, pytest.raises(interrupt.Interrupted):
            patch.setattr(interrupt, "_wanted", True)
            run()
    return run()


def slow(*settings: str):
    return pytest.param(settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "settings",
    [
        ["rl=ppo", *UPDATES, "rl.critic_warmup=0.3", *REWARD],
        ["rl=grpo", "rl.dynamic_sampling=2", "reward=random", "rl.minibatches=2"],
        slow("rl=grpo", "rl.kl_in=loss"),
        slow("rl=rloo", *UPDATES),
        slow("rl=reinforce_pp", "rl.micro_batch_size=1"),
        slow("rl=ppo", "rl.shuffle=false"),
        slow("rl=grpo", "rl.engine=transformers", *UPDATES),
    ],
    ids=" ".join,
)
def test_rl_stopped_after_every_step(settings, start, tmp_path, monkeypatch) -> None:
    settings = [*PASSES, *settings]
    calm = train(start, tmp_path / "calm", *settings)
    again = stopped_after_every_step(monkeypatch, lambda: train(start, tmp_path / "cut", *settings), 6)
    assert len(calm) == 6 and without_clocks(calm) == without_clocks(again)
    assert_same_weights(tmp_path / "calm", tmp_path / "cut", 0.0)


def test_a_budget_of_tokens_stopped_after_every_step(start, tmp_path, monkeypatch) -> None:
    settings = [*PASSES, "rl=ppo", "budget=tokens", "budget.tokens=900", "rl.dynamic_sampling=1"]
    calm = train(start, tmp_path / "calm", *settings)
    assert len(calm) > 3 and sum(row["tokens"] for row in calm[:-1]) < 900
    run = lambda: train(start, tmp_path / "cut", *settings)  # noqa: E731
    assert without_clocks(calm) == without_clocks(stopped_after_every_step(monkeypatch, run, len(calm)))
    assert_same_weights(tmp_path / "calm", tmp_path / "cut", 0.0)


def fine_tune(start: Path, work: Path, *overrides: str) -> list[dict]:
    """Train the SFT stage and return its metrics."""
    config = composed(*SHRINK, "sft=long", "sft.epochs=3", "data.train_size=14", *overrides)
    validate(config)
    work.mkdir(exist_ok=True)
    if config.launch.name == "single":
        sft.build(plain(config), start, work, "test")
    else:
        launch.build("sft", plain(config), start, work, "test")
    return pq.read_table(work / "metrics.parquet").to_pylist()


def check_fine_tuning(start, tmp_path, monkeypatch, *overrides: str) -> None:
    calm = fine_tune(start, tmp_path / "calm", *overrides)
    assert len(calm) == 12  # 28 chains make 4 batches, the last one not full
    again = stopped_after_every_step(monkeypatch, lambda: fine_tune(start, tmp_path / "cut", *overrides), 12)
    assert without_clocks(calm) == without_clocks(again)
    assert_same_weights(tmp_path / "calm", tmp_path / "cut", 0.0)


def test_sft_stopped_after_every_step(start, tmp_path, monkeypatch) -> None:
    check_fine_tuning(start, tmp_path, monkeypatch)


TWO_PROCESSES = ["launch=ddp", "launch.processes=2"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sft_of_two_processes_stopped_after_every_step(start, tmp_path, monkeypatch) -> None:
    check_fine_tuning(start, tmp_path, monkeypatch, *TWO_PROCESSES)


def test_the_pass_reaches_the_sampler_however_deep_it_lies() -> None:
    """Several processes that resume inside a pass: the sampler is wrapped once more than usual."""

    def batches(number: int, skipped: int) -> list[list[int]]:
        order = PromptOrder(8, group_size=1, per_rollout=2, repeats=1, seed=5, shuffle=True)
        loader = DataLoader(range(8), batch_size=2, sampler=order)
        loader = prepare_data_loader(loader, num_processes=2, process_index=0, put_on_device=False)
        if skipped:
            loader = skip_first_batches(loader, skipped)
        state = SimpleNamespace(epoch=number + skipped / 2)
        OrderOfEpoch().on_epoch_begin(None, state, None, train_dataloader=loader)
        loader.set_epoch(number)  # as the trainer does
        return [batch.tolist() for batch in loader]

    for number in range(3):
        whole = batches(number, 0)
        assert len(whole) == 2 and batches(number, 1) == whole[1:]
        order = pass_order(8, 5, number)
        assert whole == [order[:2], order[4:6]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("baseline", ["grpo", "ppo"])
def test_rl_of_two_processes_stopped_after_every_step(baseline: str, start, tmp_path, monkeypatch) -> None:
    settings = [*PASSES, *TWO_PROCESSES, f"rl={baseline}", *UPDATES, "rl.dynamic_sampling=1"]
    calm = train(start, tmp_path / "calm", *settings)
    run = lambda: train(start, tmp_path / "cut", *settings)  # noqa: E731
    assert without_clocks(calm) == without_clocks(stopped_after_every_step(monkeypatch, run, 6))
    assert_same_weights(tmp_path / "calm", tmp_path / "cut", 0.0)


@pytest.mark.parametrize(("prompts", "per_rollout"), [(7, 2), (8, 4), (3, 3)])
def test_the_passes_are_those_of_one_generator(prompts: int, per_rollout: int) -> None:
    """An undisturbed run takes the prompts that TRL's own sampler would have given it."""
    settings = {"group_size": 3, "per_rollout": per_rollout, "repeats": 2, "seed": 11}
    ours = PromptOrder(prompts, shuffle=True, **settings)
    theirs = RepeatSampler(range(prompts), mini_repeat_count=3, batch_size=per_rollout, repeat_count=2, seed=11)
    passes = [list(theirs) for _ in range(4)]
    for number in (2, 0, 3, 1):  # in any order
        ours.set_epoch(number)
        assert list(ours) == passes[number] and len(ours) == len(passes[number])


def test_an_order_is_a_permutation_of_seed_and_pass() -> None:
    orders = {tuple(pass_order(50, seed, number)) for seed in range(3) for number in range(3)}
    assert len(orders) == 9 and all(sorted(order) == list(range(50)) for order in orders)
    assert pass_order(5, 1, 3, shuffle=False) == [0, 1, 2, 3, 4]
    state = torch.random.get_rng_state()
    first = further_prompts(50, 0, 3, {1, 2})
    assert sorted(first) == sorted(set(range(50)) - {1, 2})
    assert first == further_prompts(50, 0, 3, {1, 2}) != further_prompts(50, 0, 4, {1, 2})
    assert torch.equal(state, torch.random.get_rng_state())  # the run's own numbers are untouched


def test_a_curriculum_keeps_the_order_of_the_train_set(start, tmp_path) -> None:
    train(start, tmp_path / "work", *PASSES, "rl=grpo", "rl.shuffle=false", "rl.steps=4")
    rollouts = pq.read_table(tmp_path / "work" / "rollouts.parquet").to_pylist()
    by_step = [{row["question_id"] for row in rollouts if row["step"] == step} for step in range(1, 5)]
    assert by_step[0] == by_step[2] != by_step[1] == by_step[3]


def test_dynamic_sampling_of_single_completions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rl\.dynamic_sampling=1 .*group_size"):
        validate(composed("rl=ppo", "rl.group_size=1", "rl.dynamic_sampling=1"))
