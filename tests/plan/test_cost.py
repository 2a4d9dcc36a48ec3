"""Tokens, hours on GPUs and detectable effects against published or measured figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.claims import power
from repro.config import ConfigError
from repro.plan import detect, gpus, memory
from repro.plan.cells import expand
from repro.plan.flops import SHAPES
from repro.plan.gpus import Assumptions
from repro.plan.summary import Request, summary
from repro.plan.workload import Lengths, expected_lengths, of_stage
from tests.conftest import planned

PAPER = [
    "model.path=meta-llama/Meta-Llama-3.1-8B",
    "rl=ppo",
    "rl.engine=vllm_colocate",
    "rl.steps=112",
    "rl.prompts_per_step=512",
    "rl.group_size=8",
    "rl.minibatches=8",
    "rl.micro_batch_size=1",
    "rl.max_completion_length=14336",
    "rl.kl=0.01",
]


def rl_stage(*overrides: str):
    (cell,) = expand(list(overrides)).cells
    return cell, next(stage for stage in cell.stages if stage.kind == "rl")


def test_responses_of_the_published_runs():
    cell, stage = rl_stage(*PAPER)
    work = of_stage(cell.config, stage, Lengths(prompt=100, completion=1000))
    assert (work.steps, work.samples, work.updates) == (112, 458_752, 896)  # fact sheet 1.4: 112 iterations, 8 optimizer steps each
    assert (work.sampled, work.prompts, work.trained) == (458_752_000, 45_875_200, 504_627_200)
    assert of_stage(cell.config, stage, Lengths(completion=1e9)).length == 14336


def test_tokens_of_a_measured_micro_run():
    """SFT on long chains had 648,629 tokens in 8,192 rows and 128 steps, the evaluation after it about 80,800 of 1,280 samples."""
    (cell,) = expand(["hydra.mode=RUN", "+experiment=reward_design"]).cells
    works = {stage.title: of_stage(cell.config, stage, Lengths()) for stage in cell.stages}
    assert works["sft"].steps == 128
    assert works["sft"].trained == pytest.approx(648_629, rel=0.05)
    assert works["eval sft"].samples == 1280 and works["eval sft"].sampled == pytest.approx(80_800, rel=0.1)
    assert works["base"].trained == 0  # ships


def test_published_hours():
    """SimpleRL's recipe, Qwen2.5-Math-7B by PPO: 120 steps of 1,024 prompts x 8, 1.5 days on 32 A100 or H100 with 80 GB (fact sheet 5.1); 700
    tokens a completion, within the 400 to 1,200 of the paper's figure 8. Data-sheet arithmetic leaves loading, weight transfer and cards that
    wait for each other out. It comes out at a third, which the plan says."""
    sizes = ["rl.steps=120", "rl.prompts_per_step=1024", "rl.minibatches=64", "rl.max_completion_length=3000"]
    cell, stage = rl_stage(*PAPER, *sizes, "model.path=Qwen/Qwen2.5-Math-7B")
    work = of_stage(cell.config, stage, Lengths(completion=700))
    published = 1.5 * 24 * 32
    slow, fast = (
        gpus.cost(cell.config, stage, work, SHAPES["Qwen2.5-7B"], Assumptions(gpu, gpus=32)).gpu_hours for gpu in ("a100", "h100")
    )
    assert fast < slow
    assert 2.5 < published / slow < 4 and "three times" in " ".join(Assumptions().lines())


def test_eight_cards_hold_the_published_sft():
    """The released SFT scripts run an 8B model with ZeRO-2 on 8 cards of 80 GB."""
    (cell,) = expand([*PAPER, "sft=long", "sft.max_length=131072", "launch=single"]).cells
    stage = next(stage for stage in cell.stages if stage.kind == "sft")
    work = of_stage(cell.config, stage, Lengths())
    alone = gpus.cost(cell.config, stage, work, SHAPES["Llama-3.1-8B"], Assumptions("a100", gpus=8))
    assert not alone.fits and alone.instead["zero2"] < 80e9 * (1 - memory.RESERVE)


def test_parts_of_rl():
    cell, stage = rl_stage(*PAPER)
    work, shape = of_stage(cell.config, stage, Lengths()), SHAPES["Llama-3.1-8B"]
    cost = gpus.cost(cell.config, stage, work, shape, Assumptions(gpus=64))
    assert set(cost.parts) == {"sampling", "training", "old log-probabilities", "reference", "critic"}
    assert {"critic", "reference", "KV cache", "rollout weights"} <= set(cost.memory)
    assert cost.gpu_hours == pytest.approx(64 * sum(cost.parts.values()) / 3600)
    assert cost.parts["training"] == pytest.approx(4 * cost.parts["reference"])
    faster = gpus.cost(cell.config, stage, work, shape, Assumptions(gpus=64, mfu=0.7))
    assert faster.parts["training"] == pytest.approx(cost.parts["training"] / 2)
    longer = gpus.cost(cell.config, stage, of_stage(cell.config, stage, Lengths(completion=1e9)), shape, Assumptions(gpus=64))
    assert longer.seconds > 3 * cost.seconds


def test_decoding_waits_for_the_longest():
    shape, assumed = SHAPES["Llama-3.1-8B"], Assumptions("h100")

    def seconds(samples: float) -> float:
        return gpus.decoding(shape, assumed, 1, samples=samples, length=100, longest=10_000, prompt=10, together=samples)

    assert seconds(1) == pytest.approx(seconds(8), rel=0.05)  # bound by the longest completion
    weights = 10_000 * 2 * shape.parameters / (0.6 * 3.35e12)
    assert seconds(1) == pytest.approx(weights, rel=0.05)


@pytest.mark.parametrize("wrong", [{"gpu": "b9000"}, {"mfu": 0.0}, {"mfu": 1.5}, {"mbu": -1.0}, {"gpus": 0}])
def test_impossible_assumptions(wrong):
    with pytest.raises(ConfigError):
        Assumptions(**wrong)


@pytest.mark.parametrize(
    ("window", "rows", "measured"),
    [(4096, 4, 20.9), (256, 16, 19.1)],  # most that tensors held on an H200, GiB (tests/benchmarks/gpu.py; a cell of three steps)
)
def test_memory_is_what_a_gpu_held(window, rows, measured):
    """PPO with a reference on Qwen2.5-0.5B's architecture, 64 completions of the whole window, sampled natively."""
    line = ["model.path=Qwen/Qwen2.5-0.5B", "rl=ppo", "rl.prompts_per_step=8", "rl.group_size=8", f"rl.micro_batch_size={rows}"]
    cell, stage = rl_stage(*line, f"rl.max_completion_length={window}")
    work = of_stage(cell.config, stage, Lengths(prompt=15, completion=window))
    found = gpus.cost(cell.config, stage, work, SHAPES["Qwen2.5-0.5B"], Assumptions(gpu="h200"))
    assert found.peak / memory.GIB == pytest.approx(measured, rel=0.05)


def test_seeds_of_the_textbook():
    assert detect.seeds_needed(0.5, 1.0) == 64 and detect.seeds_needed(1.0, 1.0) == 17  # Cohen 1988, table 2.4.1
    assert detect.seeds_needed(2.0, 2.0) == 17
    assert detect.seeds_needed(0.001, 1.0) is None


def test_smallest_effect():
    assert detect.smallest_effect(1, 1.0) is None
    found = detect.smallest_effect(5, 2.0)
    assert power.power(found, power.independent(5, 2.0)) == pytest.approx(0.8, abs=1e-3)
    assert found == pytest.approx(2 * detect.smallest_effect(5, 1.0), rel=1e-3)


CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("scale", sorted(path.stem for path in (CONF / "scale").glob("*.yaml")))
@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_plans_at_every_scale(name, scale):
    plan = planned(name, scale)
    found = summary(plan, Request(Assumptions(), Lengths()))
    assert found["scale"] == scale and found["cells"] == len(plan.cells)
    if name == "pretraining_traces":  # reads a corpus, trains and samples nothing
        assert [row["kind"] for row in found["stages"]] == ["traces"] and found["total"]["gpu_hours"] == 0
        return
    assert found["total"]["gpu_hours"] > 0 and found["total"]["sampled_tokens"] > 0
    assert all(row["peak_gib"] > 0 for row in found["stages"] if row["memory_gib"])
    trains = [row for row in found["stages"] if row["kind"] in ("sft", "rl", "judge")]
    assert trains and all(row["peak_gib"] > 0 and row["trained_tokens_each"] > 0 and row["seconds_each"] > 0 for row in trains)
    if scale == "paper":
        rl = [row for row in found["stages"] if row["kind"] == "rl"]
        assert all(row["gpus"] == 64 for row in rl)


def test_lengths_are_those_of_the_data() -> None:
    """A mixture lies between its sources; RL on other prompts than SFT has the lengths of its own."""
    prompts = {}
    for name in ("math", "web_then_math", "math_web"):
        config = expand([f"data=micro_{name}", "sft=long"]).cells[0].config
        prompts[name] = expected_lengths(config, "long", Lengths())[0], expected_lengths(config, "long", Lengths(), rl=True)[0]
    sft = {name: found[0] for name, found in prompts.items()}
    assert min(sft["math"], sft["web_then_math"]) < sft["math_web"] < max(sft["math"], sft["web_then_math"])
    assert {found[1] for found in prompts.values()} == {sft["math"]}  # all three do RL on clean problems
