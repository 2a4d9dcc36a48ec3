"""Sampling from Llama and Qwen2 architectures without the overhead of ``generate``: one flat loop over the weights, rows that are done leave.

At micro scale ``model.generate`` spends most of a rollout in Python; here a decode step is a dozen tensor operations a layer. Random numbers
are not drawn while sampling but given: one uniform number a token, from a counter-based generator keyed by what the sample *is* (seed,
question, index). A token is the inverse of the cumulative distribution at its number. So a sample does not depend on the batch it is in, on
the order, on the number of processes or on what was sampled before, and a killed run draws the same ones again.

    >>> ids, logprobs = sample(model, prompts, uniforms(["0/q1/0"], 160), eos=1, max_tokens=160)   # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

KEEP = 0.7  # share of a batch still running below which the finished rows are dropped from the caches


def uniforms(keys: Sequence[str], count: int) -> torch.Tensor:
    """Float64 ``[len(keys), count]`` in [0, 1), a function of each key alone."""
    rows = []
    for key in keys:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        rows.append(np.random.Generator(np.random.Philox(key=seed)).random(count))
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, count, dtype=torch.float64)


def supported(model) -> bool:
    """Whether ``sample`` knows the architecture: Llama and Qwen2 with SiLU, without sliding windows or length-dependent rotary frequencies."""
    config = model.config
    if config.model_type not in ("llama", "qwen2") or config.hidden_act != "silu" or getattr(config, "use_sliding_window", False):
        return False
    return getattr(model.model.rotary_emb, "rope_type", "default") in ("default", "linear", "llama3", "yarn")


class _Weights:
    """The model's parameters, joined where one multiplication can do the work of several."""

    def __init__(self, model, length: int) -> None:
        body, config = model.model, model.config
        self.embed, self.norm, self.head = body.embed_tokens.weight, body.norm.weight, model.lm_head.weight
        self.eps, self.heads, self.kv_heads = config.rms_norm_eps, config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        positions = torch.arange(length, device=self.embed.device)[None]
        cos, sin = body.rotary_emb(self.embed[:1], positions)
        self.cos, self.sin = cos[0], sin[0]  # [length, size]
        self.layers = []
        for layer in body.layers:
            attention, mlp = layer.self_attn, layer.mlp
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            bias = None if parts[0].bias is None else torch.cat([p.bias for p in parts])
            self.layers.append(
                (
                    layer.input_layernorm.weight,
                    torch.cat([p.weight for p in parts]),
                    bias,
                    attention.o_proj,
                    layer.post_attention_layernorm.weight,
                    torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
                    mlp.down_proj,
                )
            )


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _forward(w: _Weights, tokens, positions, keys, values, start: int, mask) -> torch.Tensor:
    """Logits float32 ``[rows, vocabulary]`` after the last of ``tokens [rows, new]``, written to the caches from column ``start``."""
    rows, new = tokens.shape
    x = F.embedding(tokens, w.embed)
    cos, sin = w.cos[positions][:, None], w.sin[positions][:, None]  # [rows, 1, new, size]
    end, width = start + new, (x.shape[-1],)
    q_size, kv_size = w.heads * w.size, w.kv_heads * w.size
    for index, (norm1, qkv, bias, out, norm2, gate_up, down) in enumerate(w.layers):
        q, k, v = F.linear(F.rms_norm(x, width, norm1, w.eps), qkv, bias).split((q_size, kv_size, kv_size), -1)
        q = _rotate(q.view(rows, new, w.heads, w.size).transpose(1, 2), cos, sin)
        keys[index][:, :, start:end] = _rotate(k.view(rows, new, w.kv_heads, w.size).transpose(1, 2), cos, sin)
        values[index][:, :, start:end] = v.view(rows, new, w.kv_heads, w.size).transpose(1, 2)
        attended = F.scaled_dot_product_attention(
            q.to(keys[index].dtype),
            keys[index][:, :, :end],
            values[index][:, :, :end],
            attn_mask=mask[..., :end],
            enable_gqa=w.kv_heads != w.heads,
        )
        x = x + out(attended.transpose(1, 2).reshape(rows, new, q_size))
        gate, up = F.linear(F.rms_norm(x, width, norm2, w.eps), gate_up).chunk(2, -1)
        x = x + down(F.silu(gate) * up)
    return F.linear(F.rms_norm(x[:, -1], width, w.norm, w.eps), w.head).float()


def choose(logits: torch.Tensor, u: torch.Tensor | None, temperature: float, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(token ids int64 ``[rows]``, their log-probabilities float32 ``[rows]`` at this temperature, before top-p).

    ``u``: float64 ``[rows]`` in [0, 1); not read when temperature is 0, which is greedy, with log-probabilities at temperature 1.
    """
    logprobs = torch.log_softmax(logits / (temperature or 1.0), -1)
    if temperature == 0:
        tokens = logits.argmax(-1)
    else:
        p = logprobs.double().exp()
        if top_p < 1:
            ordered, order = p.sort(-1, descending=True)
            before = ordered.cumsum(-1) - ordered  # a token stays if less than top_p lies before it; the first always does
            p = p.masked_fill(torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, before >= top_p), 0.0)
        total = p.cumsum(-1)
        point = (u * total[:, -1]).clamp(max=torch.nextafter(total[:, -1], torch.zeros_like(u)))
        tokens = torch.searchsorted(total, point[:, None], right=True)[:, 0]  # never a token of probability 0
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


@torch.no_grad()
def sample(
    model,
    prompts: Sequence[Sequence[int]],
    noise: torch.Tensor,
    *,
    eos: int,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[list[int]], list[list[float]]]:
    """One completion a prompt and the log-probability of each of its tokens; EOS is part of a completion that reached it.

    Args:
        model: of a ``supported`` architecture, in any mode; it is not changed.
        noise: float64 ``[len(prompts), max_tokens]``, e.g. from ``uniforms``.
        max_tokens: of a completion, EOS included.
        progress: called with the number of completions that ended at a step.

    Raises:
        ValueError: an empty prompt, or noise of another shape.
    """
    count, device = len(prompts), model.model.embed_tokens.weight.device
    if noise.shape != (count, max_tokens):
        raise ValueError(f"noise has shape {tuple(noise.shape)}, expected {(count, max_tokens)}")
    if any(not len(prompt) for prompt in prompts):
        raise ValueError("an empty prompt cannot be continued")
    ids: list[list[int]] = [[] for _ in prompts]
    found: list[list[float]] = [[] for _ in prompts]
    if count == 0:
        return ids, found
    longest = max(map(len, prompts))
    w = _Weights(model, longest + max_tokens)
    tokens = torch.zeros(count, longest, dtype=torch.long)
    real = torch.zeros(count, longest + max_tokens, dtype=torch.bool)
    real[:, longest:] = True
    for row, prompt in enumerate(prompts):  # left-padded, so that all rows write the same column of the caches
        tokens[row, longest - len(prompt) :] = torch.as_tensor(prompt)
        real[row, longest - len(prompt) : longest] = True
    tokens, real, noise = tokens.to(device), real.to(device), noise.to(device)
    padding = (~real).sum(-1)
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else w.embed.dtype
    shape = (count, w.kv_heads, longest + max_tokens, w.size)
    keys = [torch.empty(shape, device=device, dtype=dtype) for _ in w.layers]
    values = [torch.empty(shape, device=device, dtype=dtype) for _ in w.layers]
    causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    # A padded position attends to itself only: what it computes is never read, but must not be nan.
    mask = (causal & real[:, None, :longest]) | torch.eye(longest, dtype=torch.bool, device=device)
    positions = (torch.arange(longest, device=device) - padding[:, None]).clamp(min=0)
    logits = _forward(w, tokens, positions, keys, values, 0, mask[:, None])
    mask, alive, rows = real[:, None, None], torch.arange(count), torch.arange(count, device=device)
    running = torch.ones(count, dtype=torch.bool)
    for step in range(max_tokens):
        chosen, logprobs = choose(logits, noise[rows, step], temperature, top_p)
        listed, kept = chosen.tolist(), logprobs.tolist()
        ended = 0
        for place, row in enumerate(alive.tolist()):
            if running[place]:
                ids[row].append(listed[place])
                found[row].append(kept[place])
                if listed[place] == eos:
                    running[place] = False
                    ended += 1
        if ended:
            progress(ended)
        left = int(running.sum())
        if left == 0 or step + 1 == max_tokens:
            progress(left)
            break
        if left < KEEP * len(running):
            stay = running.nonzero()[:, 0].to(device)
            alive, rows, running = alive[running], rows[stay], running[running]
            keys, values = [k[stay] for k in keys], [v[stay] for v in values]
            mask, padding, chosen = mask[stay], padding[stay], chosen[stay]
        column = longest + step
        logits = _forward(w, chosen[:, None], (column - padding)[:, None], keys, values, column, mask)
    return ids, found
