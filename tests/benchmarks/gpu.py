"""Where the time of an RL step goes: rollout, reward, log-probabilities and values, forward and backward, optimizer.

On a GPU a model of Qwen2.5-0.5B's architecture with rollouts of 4,096 tokens; without one a small model, which only shows that this runs. The
weights are random and hardly ever say EOS, so that every rollout has the full length; a step of a trained model is shorter.

    python -m tests.benchmarks.gpu [--rl grpo ppo] [--engine native|transformers|vllm_colocate] [--steps 3] [--size full|small]
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", TRL_EXPERIMENTAL_SILENCE="1", TRANSFORMERS_VERBOSITY="error")
FULL = {
    "vocab_size": 151936, "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "intermediate_size": 4864, "max_position_embeddings": 32768, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip
SMALL = {
    "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 128, "max_position_embeddings": 4096,
}  # fmt: skip
# Prompts a step, completions a prompt, tokens of a completion, completions in a forward pass.
SIZES = {"full": (FULL, 8, 8, 4096, 4), "small": (SMALL, 2, 4, 96, 4)}
PARTS = ("rollout", "reward", "log-probabilities, values, advantages", "forward, backward", "optimizer", "other")


class Clock:
    """Seconds by part; a part that contains another is charged for what is left."""

    def __init__(self) -> None:
        self.seconds, self.open = defaultdict(float), [["other", time.perf_counter()]]

    def now(self) -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def enter(self, part: str) -> None:
        now = self.now()
        name, since = self.open[-1]
        self.seconds[name] += now - since
        self.open.append([part, now])

    def leave(self) -> None:
        now = self.now()
        name, since = self.open.pop()
        self.seconds[name] += now - since
        self.open[-1][1] = now

    @contextmanager
    def part(self, name: str):
        self.enter(name)
        try:
            yield
        finally:
            self.leave()


def timed(clock: Clock):
    """``StreamTrainer`` that tells ``clock`` what it does."""
    from transformers import TrainerCallback

    from repro.rl.trainer import StreamTrainer

    class Optimizer(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **_):
            clock.enter("optimizer")

        def on_optimizer_step(self, args, state, control, **_):
            clock.leave()

        def on_step_end(self, args, state, control, **_):
            if state.global_step == 1:  # the first step pays for what is made once
                clock.seconds.clear()

    class Timed(StreamTrainer):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.add_callback(Optimizer())

        def _generate_single_turn(self, *args, **settings):
            with clock.part("rollout"):
                return super()._generate_single_turn(*args, **settings)

        def _calculate_rewards(self, *args, **settings):
            with clock.part("reward"):
                return super()._calculate_rewards(*args, **settings)

        def _generate_and_score_completions(self, inputs):
            with clock.part("log-probabilities, values, advantages"):
                return super()._generate_and_score_completions(inputs)

        def training_step(self, *args, **settings):
            with clock.part("forward, backward"):
                return super().training_step(*args, **settings)

    return Timed


def measure(name: str, size: str, engine: str, steps: int) -> tuple[dict[str, float], float, float]:
    """(seconds a step by part, tokens a step, peak GiB of the GPU), without the first step."""
    import pyarrow.parquet as pq
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from repro.models.tokenizer import build_tokenizer
    from repro.rl import stage, trainer
    from tests.benchmarks.training import cell

    shape, prompts, group, window, micro = SIZES[size]
    gc.collect()  # the trainer before this one, which the peak must not count
    tokenizer, clock, plain = build_tokenizer(), Clock(), trainer.StreamTrainer
    config = cell(
        f"rl={name}", f"rl.engine={engine}", f"rl.steps={steps + 1}", "rl.save_steps=1000", f"rl.prompts_per_step={prompts}",
        f"rl.group_size={group}", f"rl.max_completion_length={window}", f"rl.micro_batch_size={micro}", "reward=cosine_repetition", "tracking=none",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start, work = Path(folder) / "start", Path(folder) / "work"
        torch.manual_seed(0)
        special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
        Qwen2ForCausalLM(Qwen2Config(**shape, **special, tie_word_embeddings=True)).save_pretrained(start)
        tokenizer.save_pretrained(start)
        work.mkdir()
        trainer.StreamTrainer = timed(clock)
        try:
            stage.build(config, start, work, "benchmark")
        finally:
            trainer.StreamTrainer = plain
        rows = pq.read_table(work / "metrics.parquet").to_pylist()[1:]
    tokens, peak = [row["tokens"] for row in rows], rows[-1].get("gpu_gib", float("nan"))
    return {part: clock.seconds[part] / steps for part in PARTS}, sum(tokens) / steps, peak


def main(arguments: list[str] | None = None) -> str:
    import torch

    from repro.manifest import environment

    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rl", nargs="+", default=["grpo", "ppo"], help="choices of rl=")
    parser.add_argument("--engine", default="native", help="choice of rl.engine=")
    parser.add_argument("--steps", type=int, default=3, help="steps after the first, which is not counted")
    parser.add_argument("--size", choices=sorted(SIZES), default="full" if gpu else "small")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = {}
    for name in options.rl:
        found[name] = parts, tokens, peak = measure(name, options.size, options.engine, options.steps)
        print(name, {part: round(seconds, 2) for part, seconds in parts.items()}, f"{tokens:,.0f} tokens, {peak:.1f} GiB", flush=True)
    shape, prompts, group, window, _ = SIZES[options.size]
    lines = [f"| seconds a step | {' | '.join(found)} |", f"|---|{'---:|' * len(found)}"]
    lines += [f"| {part} | {' | '.join(f'{parts[part]:.2f}' for parts, _, _ in found.values())} |" for part in PARTS]
    lines += [
        f"| tokens of rollouts a step | {' | '.join(f'{tokens:,.0f}' for _, tokens, _ in found.values())} |",
        f"| peak GiB | {' | '.join(f'{peak:.1f}' for *_, peak in found.values())} |",
        "",
        f"Qwen2, hidden {shape['hidden_size']}, {shape['num_hidden_layers']} layers; {prompts} x {group} rollouts of up to {window} tokens; "
        f"rl.engine={options.engine}; {torch.cuda.get_device_name() if gpu else environment()['cpu']}.",
    ]
    text = "\n".join(lines)
    print("\n" + text)
    return text


if __name__ == "__main__":
    main()
