"""Speed of the stages beside bare scripts that do the same work, in one run: ratios, not absolute claims.

* pre-training: tokens/s of the stage's loop against a bare PyTorch loop on the same model and batches;
* RL: seconds a step of the cell's trainer (verifier, rewards, metrics, tracking, checkpoints) with GRPO and with PPO against plain
  ``GRPOTrainer`` with a plain reward function on the same prompts, model and sampling, rollouts by transformers' ``generate``;
* rollouts: generated tokens/s inside both.

The two sides of each ratio take turns, so that a busy machine slows both.

    python tests/benchmarks/training.py [--rounds 3] [--write]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", TRL_EXPERIMENTAL_SILENCE="1", TRANSFORMERS_VERBOSITY="error")
STEPS, PROMPTS, GROUP, WINDOW = 8, 16, 8, 160


def cell(*overrides: str) -> dict:
    """The composed default cell as plain values."""
    from hydra import compose, initialize_config_dir

    from repro.config import plain, register

    register()
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        return plain(compose("config", overrides=[f"rl.steps={STEPS}", "rl.save_steps=4", "rl.eval_steps=0", *overrides]))


def pretraining(micro: dict, rounds: int) -> tuple[float, float]:
    """Median tokens/s of the stage and of a bare loop over the same documents."""
    import torch

    from repro.data.chains import SKILLS
    from repro.models import pretrain
    from repro.models.load import build_micro
    from repro.models.tokenizer import build_tokenizer

    steps, tokenizer = 64, build_tokenizer()
    small = {**micro, "skill_steps": steps, "mixture_steps": 0}
    ours, bare = [], []
    measure, pretrain.measure = pretrain.measure, lambda *_: {"search": 0.0}  # what is timed is training
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as work:
            start = time.perf_counter()
            _, tokens, _ = pretrain.train(small, Path(work))
            ours.append(tokens / (time.perf_counter() - start))
        torch.manual_seed(0)
        model = build_micro(small)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        source, seen = pretrain.batches(SKILLS, small["batch_size"], 0, 0, tokenizer), 0
        prepared = [next(source) for _ in range(steps)]  # a bare loop pays nothing for its data
        start = time.perf_counter()
        for inputs, labels in prepared:
            logits = model(input_ids=inputs).logits
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seen += inputs.numel()
        bare.append(seen / (time.perf_counter() - start))
    pretrain.measure = measure
    return statistics.median(ours), statistics.median(bare)


class Clock:
    """Seconds in generation and tokens generated, by wrapping the trainer's own generation method."""

    def __init__(self, trainer) -> None:
        self.seconds, self.tokens, inner = 0.0, 0, trainer._generate_single_turn

        def timed(*args, **kwargs):
            start = time.perf_counter()
            out = inner(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            self.tokens += sum(len(ids) for ids in out[0])
            return out

        trainer._generate_single_turn = timed


def rl(base: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds a step and tokens/s of rollouts, GRPO, PPO and bare, taking turns."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from repro import training
    from repro.data.world import problems
    from repro.models.load import load_model, load_tokenizer
    from repro.rl import stage, trainer

    configs = {side: cell(f"rl={side}") for side in ("grpo", "ppo")}
    found: dict[str, list[float]] = {f"{side} {what}": [] for side in (*configs, "bare") for what in ("step", "tokens/s")}

    def record(side: str, clock: Clock, seconds: float) -> None:
        found[f"{side} step"].append(seconds / STEPS)
        found[f"{side} tokens/s"].append(clock.tokens / clock.seconds)

    class Timed(trainer.StreamTrainer):
        def train(self, *args, **kwargs):
            clock, start = Clock(self), time.perf_counter()
            out = super().train(*args, **kwargs)
            record(self.signal.baseline, clock, time.perf_counter() - start)
            return out

    tokenizer = load_tokenizer(base)
    tokenizer.padding_side = "left"
    rows = [{"prompt": [{"role": "user", "content": p.prompt()}], "gold": p.answer} for p in problems("train", 2048)]

    def right(completions, gold, **_):
        boxes = [re.findall(r"\\boxed{ (\S+) }", c[0]["content"]) for c in completions]
        return [float(b[-1:] == [g]) for b, g in zip(boxes, gold, strict=True)]

    trainer.StreamTrainer = Timed
    for _ in range(rounds):
        for config in configs.values():
            with tempfile.TemporaryDirectory() as work:
                here = {**config, "paths": {**config["paths"], "wandb": f"{work}/wandb"}}
                stage.build(here, base, Path(work), "benchmark")
        with tempfile.TemporaryDirectory() as work:
            shared = training.common_arguments(Path(work), configs["grpo"]["rl"], 0, STEPS)
            shared.update(logging_steps=STEPS, save_strategy="no")
            arguments = GRPOConfig(
                **shared, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, steps_per_generation=1,
                max_completion_length=WINDOW, beta=0.0, loss_type="grpo", top_k=0,
            )  # fmt: skip
            bare = GRPOTrainer(load_model(base), right, arguments, Dataset.from_list(rows), processing_class=tokenizer)
            clock, start = Clock(bare), time.perf_counter()
            bare.train()
            record("bare", clock, time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each side; medians are shown")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    rounds, write = parser.parse_args().rounds, parser.parse_args().write
    import torch

    from repro.manifest import environment
    from repro.models.base import HERE
    from repro.report.readme import RESULTS

    torch.set_num_threads(1)
    ours, bare = pretraining(cell()["model"]["micro"], rounds)
    steps = rl(HERE / "llama" / "model", rounds)
    middle = {k: statistics.median(v) for k, v in steps.items()}
    facts = environment()
    lines = [
        "| | repro | bare script | ratio |",
        "|---|---:|---:|---:|",
        f"| pre-training, tokens/s | {ours:,.0f} | {bare:,.0f} | {ours / bare:.2f} |",
        *(
            f"| RL step, {side.upper()}, s ({PROMPTS} x {GROUP} completions) | {middle[f'{side} step']:.2f} | {middle['bare step']:.2f} (GRPO) "
            f"| {middle[f'{side} step'] / middle['bare step']:.2f} |"
            for side in ("grpo", "ppo")
        ),
        f"| rollouts, tokens/s | {middle['grpo tokens/s']:,.0f} | {middle['bare tokens/s']:,.0f} "
        f"| {middle['grpo tokens/s'] / middle['bare tokens/s']:.2f} |",
        "",
        f"{facts['cpu']}, {facts['cores']} cores, one torch thread, medians of {rounds} rounds, commit {facts['commit'][:10]}.",
    ]
    print("\n" + "\n".join(lines))
    if write:
        (RESULTS / "bench.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
