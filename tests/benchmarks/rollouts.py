"""Rollout engines on the micro base model, side by side in one run: tokens/s of 16 prompts x 8 completions of up to 160 tokens.

The native sampler, transformers' ``generate``, its continuous batching, and vLLM where it is installed (which needs its own CPU build).
Completions differ in length from run to run, so what is compared is tokens a second; two settings, one where the model stops by itself and
one where every completion is 160 tokens.

    python -m tests.benchmarks.rollouts [--rounds 3] [--write]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
WINDOW = 160


def engines(model, tokenizer, prompts: list[list[int]]) -> dict[str, Callable[[bool, int], int]]:
    """Name -> function of (stop at EOS?, round) that samples once and returns the tokens generated."""
    import torch
    from transformers import GenerationConfig

    from repro.models import sampler

    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id

    def native(stop: bool, number: int) -> int:
        noise = sampler.uniforms([f"{number}/{i}" for i in range(len(prompts))], WINDOW)
        ids, _ = sampler.sample(model, prompts, noise, stops=[eos] if stop else [], max_tokens=WINDOW)
        return sum(map(len, ids))

    def settings(stop: bool) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=WINDOW, do_sample=True, top_k=0, temperature=1.0, pad_token_id=pad, eos_token_id=eos if stop else -1
        )

    def generate(stop: bool, number: int) -> int:
        width = max(map(len, prompts))
        inputs = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
        torch.manual_seed(number)
        out = model.generate(input_ids=inputs, attention_mask=(inputs != pad).long(), generation_config=settings(stop))[:, width:]
        if not stop:
            return out.numel()
        return sum(row.index(eos) + 1 if eos in row else len(row) for row in out.tolist())

    def continuous(stop: bool, number: int) -> int:
        torch.manual_seed(number)
        outputs = model.generate_batch(prompts, generation_config=settings(stop), progress_bar=False)
        return sum(len(output.generated_tokens) for output in outputs.values())

    return {"native": native, "transformers generate": generate, "transformers continuous batching": continuous}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; medians are shown")
    parser.add_argument("--write", action="store_true", help="keep the table as the README's (then run python -m repro.report.readme)")
    options = parser.parse_args()
    import torch

    from repro.data.world import problems
    from repro.manifest import environment
    from repro.models.base import HERE
    from repro.models.load import encode_chat, load_model, load_tokenizer
    from repro.report.readme import RESULTS

    torch.set_num_threads(1)
    path = HERE / "llama" / "model"
    model, tokenizer = load_model(path).eval(), load_tokenizer(path)
    prompts = [encode_chat(tokenizer, q.prompt()) for q in problems("math", 16) for _ in range(8)]
    found: dict[str, dict[bool, list[float]]] = {}
    chosen = engines(model, tokenizer, prompts)
    for number in range(options.rounds):
        for name, engine in chosen.items():  # taking turns
            for stop in (True, False):
                start = time.perf_counter()
                with torch.no_grad():
                    tokens = engine(stop, number)
                found.setdefault(name, {}).setdefault(stop, []).append(tokens / (time.perf_counter() - start))
    facts = environment()
    lines = ["| rollout engine | tokens/s, stopping by itself | tokens/s, 160 tokens each |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {statistics.median(rates[True]):,.0f} | {statistics.median(rates[False]):,.0f} |" for name, rates in found.items()
    ]
    vllm = "vLLM is installed but not part of this run" if importlib.util.find_spec("vllm") else "vLLM is not installed"
    lines += ["", f"{facts['cpu']}, one torch thread, medians of {options.rounds} rounds, {vllm}, commit {facts['commit'][:10]}."]
    print("\n" + "\n".join(lines))
    if options.write:
        (RESULTS / "rollouts.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
