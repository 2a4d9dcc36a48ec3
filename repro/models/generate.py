"""Sampling for evaluation: completions of many prompts, by the native sampler where it knows the architecture, else by transformers.

With the native sampler a completion depends on its key alone. With ``generate`` it depends on all keys and on ``batch_size``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def generate(
    model,
    tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    top_p: float,
    keys: Sequence[str],
    batch_size: int = 256,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """One completion a prompt, token ids with EOS if it was reached.

    keys: one a prompt, what tells this sample from all others (seed, benchmark, question, index); it decides its random numbers.
    temperature 0 is greedy. ``progress(n)`` is called with the number of completions that ended. The global random state of torch is left
    as it was.
    """
    import hashlib

    import torch

    from repro.models import sampler
    from repro.models.stop_tokens import stop_ids

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    results: list[list[int]] = [[] for _ in prompts]
    stops, pad = stop_ids(tokenizer, model.generation_config), tokenizer.pad_token_id
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0} if temperature > 0 else {"do_sample": False}
    if sampler.supported(model):
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            noise = sampler.uniforms([keys[i] for i in rows], max_tokens)
            settings = {"stops": stops, "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "progress": progress}
            ids, _ = sampler.sample(model, [prompts[i] for i in rows], noise, **settings)
            for i, row in zip(rows, ids, strict=True):
                results[i] = row
        return results
    training = model.training
    model.eval()
    seed = int.from_bytes(hashlib.sha256("\n".join(keys).encode()).digest()[:4], "little")
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            width = max(len(prompts[i]) for i in rows)
            inputs = torch.tensor([[pad] * (width - len(prompts[i])) + list(prompts[i]) for i in rows], device=model.device)
            mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in rows], device=model.device)
            out = model.generate(
                input_ids=inputs,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                pad_token_id=pad,
                eos_token_id=stops,
                use_cache=True,
                **sampling,
            )
            for i, row in zip(rows, out[:, width:].tolist(), strict=True):
                end = next((place + 1 for place, token in enumerate(row) if token in stops), len(row))
                results[i] = row[:end]
            progress(len(rows))
    model.train(training)
    return results
