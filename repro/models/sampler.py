"""Sampling from Llama and Qwen2 architectures without the overhead of ``generate``: one flat loop over the weights, rows that are done leave.

At micro scale ``model.generate`` spends most of a rollout in Python; here a decode step is a dozen tensor operations a layer. Random numbers
are not drawn while sampling but given: one uniform number a token, from a counter-based generator keyed by what the sample *is* (seed,
question, index). A token is the inverse of the cumulative distribution at its number. So a sample does not depend on the batch it is in, on
the order, on the number of processes or on what was sampled before, and a killed run draws the same ones again.

    >>> ids, logprobs = sample(model, prompts, uniforms(["0/q1/0"], 160), stops={1}, max_tokens=160)   # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from repro.models.adapter import weight_of

KEEP = 0.7  # share of a batch still running below which the finished rows are dropped from the caches
KEEP_STATIC = 0.25  # where that costs a capture, and a row hardly anything


def uniforms(keys: Sequence[str], count: int) -> torch.Tensor:
    """Float64 ``[len(keys), count]`` in [0, 1), a function of each key alone."""
    rows = []
    for key in keys:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        rows.append(np.random.Generator(np.random.Philox(key=seed)).random(count))
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, count, dtype=torch.float64)


def supported(model) -> bool:
    """Whether ``sample`` knows the architecture: Llama and Qwen2 with SiLU, without sliding windows, length-dependent rotary frequencies, or
    biases that Qwen2 does not have."""
    config = model.config
    if config.model_type not in ("llama", "qwen2") or config.hidden_act != "silu" or getattr(config, "use_sliding_window", False):
        return False
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return False
    return getattr(model.model.rotary_emb, "rope_type", "default") in ("default", "linear", "llama3", "yarn")


class _Weights:
    """The model's parameters, joined where one multiplication can do the work of several.

    Those of multiplications in ``dtype``, which autocast would otherwise make of them at every token. A layer's adapter is added to its weight.
    """

    def __init__(self, model, length: int, dtype: torch.dtype) -> None:
        body, config = model.model, model.config
        self.embed, self.norm, self.head = body.embed_tokens.weight, body.norm.weight, model.lm_head.weight.to(dtype)
        self.eps, self.heads, self.kv_heads = config.rms_norm_eps, config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        positions = torch.arange(length, device=self.embed.device)[None]
        cos, sin = body.rotary_emb(self.embed[:1], positions)
        self.cos, self.sin = cos[0], sin[0]  # [length, size]
        self.layers = []
        for layer in body.layers:
            attention, mlp = layer.self_attn, layer.mlp
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            bias = None if parts[0].bias is None else torch.cat([p.bias for p in parts]).to(dtype)
            self.layers.append(
                (
                    layer.input_layernorm.weight,
                    torch.cat([weight_of(p) for p in parts]).to(dtype),
                    bias,
                    weight_of(attention.o_proj).to(dtype),
                    layer.post_attention_layernorm.weight,
                    torch.cat([weight_of(mlp.gate_proj), weight_of(mlp.up_proj)]).to(dtype),
                    weight_of(mlp.down_proj).to(dtype),
                )
            )


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _forward(w: _Weights, tokens, positions, keys, values, columns, mask) -> torch.Tensor:
    """Logits float32 ``[rows, vocabulary]`` after the last of ``tokens [rows, new]``.

    ``columns``: of the caches, where the new keys and values go; a slice, or for one new token a tensor of one number.
    ``mask [..., length]``: what is seen of the first ``length`` columns.
    """
    rows, new = tokens.shape
    x = F.embedding(tokens, w.embed)
    cos, sin = w.cos[positions][:, None], w.sin[positions][:, None]  # [rows, 1, new, size]
    seen, width = mask.shape[-1], (x.shape[-1],)
    q_size, kv_size = w.heads * w.size, w.kv_heads * w.size
    for index, (norm1, qkv, bias, out, norm2, gate_up, down) in enumerate(w.layers):
        q, k, v = F.linear(F.rms_norm(x, width, norm1, w.eps), qkv, bias).split((q_size, kv_size, kv_size), -1)
        q = _rotate(q.view(rows, new, w.heads, w.size).transpose(1, 2), cos, sin)
        k = _rotate(k.view(rows, new, w.kv_heads, w.size).transpose(1, 2), cos, sin)
        for cache, found in ((keys[index], k), (values[index], v.view(rows, new, w.kv_heads, w.size).transpose(1, 2))):
            if isinstance(columns, slice):
                cache[:, :, columns] = found
            else:
                cache.index_copy_(2, columns, found.to(cache.dtype))
        grouped = not isinstance(columns, slice) and w.kv_heads != w.heads
        if grouped:  # heads that share keys, as positions: nothing is repeated, and the kernels that take a mask on a GPU take this
            q = q.view(rows, w.kv_heads, -1, w.size)
        attended = F.scaled_dot_product_attention(
            q.to(keys[index].dtype),
            keys[index][:, :, :seen],
            values[index][:, :, :seen],
            attn_mask=mask,
            enable_gqa=not grouped and w.kv_heads != w.heads,
        )
        x = x + F.linear(attended.reshape(rows, 1, q_size) if grouped else attended.transpose(1, 2).reshape(rows, new, q_size), out)
        gate, up = F.linear(F.rms_norm(x, width, norm2, w.eps), gate_up).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, down)
    return F.linear(F.rms_norm(x[:, -1], width, w.norm, w.eps), w.head).float()


class _Decoder:
    """Logits after one more token of every row: ``decoder(tokens [rows], column)``.

    column: of the first step. static: every step has the same shapes and reads its inputs from the same memory. On a GPU it is then captured
    once and replayed: at these sizes the GPU would wait for Python to launch some hundred kernels a token. Attention reads the whole caches,
    which must hold numbers.
    """

    def __init__(self, w: _Weights, keys, values, real, padding, column: int, static: bool) -> None:
        self.w, self.keys, self.values, self.real, self.padding, self.static = w, keys, values, real[:, None, None], padding, static
        if not static:
            return
        device = real.device
        self.tokens, self.column = torch.zeros(len(real), dtype=torch.long, device=device), torch.zeros(1, dtype=torch.long, device=device)
        self.columns, self.graph = torch.arange(real.shape[1], device=device), None
        if device.type == "cuda":
            self.column.fill_(column)  # what this writes the first step writes again
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries allocate at their first call, which must not be captured
                self._step()
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.logits = self._step()

    def _step(self) -> torch.Tensor:
        mask = self.real & (self.columns <= self.column)
        return _forward(self.w, self.tokens[:, None], (self.column - self.padding)[:, None], self.keys, self.values, self.column, mask)

    def __call__(self, tokens: torch.Tensor, column: int) -> torch.Tensor:
        if not self.static:
            mask, positions = self.real[..., : column + 1], (column - self.padding)[:, None]
            return _forward(self.w, tokens[:, None], positions, self.keys, self.values, slice(column, column + 1), mask)
        self.tokens.copy_(tokens)
        self.column.fill_(column)
        if self.graph is None:
            return self._step()
        self.graph.replay()
        return self.logits


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
    stops: Collection[int],
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
    static: bool | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """One completion a prompt and the log-probability of each of its tokens; EOS is part of a completion that reached it.

    Args:
        model: of a ``supported`` architecture, in any mode; it is not changed.
        noise: float64 ``[len(prompts), max_tokens]``, e.g. from ``uniforms``.
        stops: ids that end a completion and are part of it.
        max_tokens: of a completion, that id included.
        progress: called with the number of completions that ended at a step.
        static: every decode step reads the whole caches, so that a GPU can replay one; None: on a GPU.

    Raises:
        ValueError: an empty prompt, or noise of another shape.
    """
    count, device = len(prompts), model.model.embed_tokens.weight.device
    static = device.type == "cuda" if static is None else static
    if noise.shape != (count, max_tokens):
        raise ValueError(f"noise has shape {tuple(noise.shape)}, expected {(count, max_tokens)}")
    if any(not len(prompt) for prompt in prompts):
        raise ValueError("an empty prompt cannot be continued")
    ids: list[list[int]] = [[] for _ in prompts]
    found: list[list[float]] = [[] for _ in prompts]
    if count == 0:
        return ids, found
    longest = max(map(len, prompts))
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else model.model.embed_tokens.weight.dtype
    w = _Weights(model, longest + max_tokens, dtype)
    tokens = torch.zeros(count, longest, dtype=torch.long)
    real = torch.zeros(count, longest + max_tokens, dtype=torch.bool)
    real[:, longest:] = True
    for row, prompt in enumerate(prompts):  # left-padded, so that all rows write the same column of the caches
        tokens[row, longest - len(prompt) :] = torch.as_tensor(prompt)
        real[row, longest - len(prompt) : longest] = True
    tokens, real, noise = tokens.to(device), real.to(device), noise.to(device)
    padding = (~real).sum(-1)
    shape = (count, w.kv_heads, longest + max_tokens, w.size)
    make = torch.zeros if static else torch.empty
    keys = [make(shape, device=device, dtype=dtype) for _ in w.layers]
    values = [make(shape, device=device, dtype=dtype) for _ in w.layers]
    causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    # A padded position attends to itself only: what it computes is never read, but must not be nan.
    mask = (causal & real[:, None, :longest]) | torch.eye(longest, dtype=torch.bool, device=device)
    positions = (torch.arange(longest, device=device) - padding[:, None]).clamp(min=0)
    logits = _forward(w, tokens, positions, keys, values, slice(0, longest), mask[:, None])
    decoder = _Decoder(w, keys, values, real, padding, longest, static)
    alive, rows = torch.arange(count), torch.arange(count, device=device)
    running = torch.ones(count, dtype=torch.bool)
    for step in range(max_tokens):
        chosen, logprobs = choose(logits, noise[rows, step], temperature, top_p)
        listed, kept = chosen.tolist(), logprobs.tolist()
        ended = 0
        for place, row in enumerate(alive.tolist()):
            if running[place]:
                ids[row].append(listed[place])
                found[row].append(kept[place])
                if listed[place] in stops:
                    running[place] = False
                    ended += 1
        if ended:
            progress(ended)
        left = int(running.sum())
        if left == 0 or step + 1 == max_tokens:
            progress(left)
            break
        column = longest + step
        if left < (KEEP_STATIC if static else KEEP) * len(running):
            stay = running.nonzero()[:, 0].to(device)
            alive, rows, running = alive[running], rows[stay], running[running]
            keys, values = [k[stay] for k in keys], [v[stay] for v in values]
            real, padding, chosen = real[stay], padding[stay], chosen[stay]
            decoder = _Decoder(w, keys, values, real, padding, column, static)
        logits = decoder(chosen, column)
    return ids, found
