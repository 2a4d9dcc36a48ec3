"""Parameters and arithmetic of Llama and Qwen2 architectures, from the numbers in their ``config.json``.

Exact counts of the layers as transformers builds them, not the rule of thumb ``6 x parameters x tokens``: at 16k tokens of context attention
is a fifth of the work of an 8B model, and a vocabulary of 128k a tenth of its parameters. Pure functions, no torch.

Sources. Matrix products: 2 operations a weight and token forward, twice that backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
Attention: 2 x 2 x heads x head size a pair of query and key (PaLM, arXiv 2204.02311, appendix B), over the keys that a causal mask leaves.
Recomputing activations costs one more forward pass (Korthikanti et al. 2022, arXiv 2205.05198, section 5).

    >>> from repro.plan.flops import SHAPES
    >>> round(SHAPES["Llama-3.1-8B"].parameters / 1e9, 2)
    8.03
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config import ConfigError


@dataclass(frozen=True)
class Shape:
    """A decoder with gated MLP, RMS norms and rotary positions; field names as in ``config.json``, ``bias``: of query, key and value."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    bias: bool
    head_size: int | None = None  # hidden / heads, unless given

    @property
    def size(self) -> int:
        """Width of one head."""
        return self.head_size or self.hidden // self.heads

    @property
    def attention_weights(self) -> int:
        """Weights of query, key, value and output projections of a layer, without biases."""
        return self.hidden * self.size * (2 * self.heads + 2 * self.kv_heads)

    @property
    def layer_parameters(self) -> int:
        bias = self.size * (self.heads + 2 * self.kv_heads) if self.bias else 0
        return self.attention_weights + bias + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Input and output embeddings; one matrix where they are tied."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them, embeddings included; a tied matrix counts once."""
        return self.embedding_parameters + self.layers * self.layer_parameters + self.hidden

    @property
    def critic_parameters(self) -> int:
        """A value model (``repro.rl.critic``): the same without output embedding, with a linear head of one output and no bias."""
        return self.vocabulary * self.hidden + self.layers * self.layer_parameters + 2 * self.hidden

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's linear layers, by name."""
        h, q, kv, f = self.hidden, self.size * self.heads, self.size * self.kv_heads, self.intermediate
        attention = {"q_proj": (h, q), "k_proj": (h, kv), "v_proj": (h, kv), "o_proj": (q, h)}
        return {**attention, "gate_proj": (h, f), "up_proj": (h, f), "down_proj": (f, h)}

    def forward(self, tokens: float, context: float, *, logits: float | None = None) -> float:
        """Operations of a forward pass.

        Args:
            tokens: tokens that go through the layers.
            context: mean number of keys that one of them attends to, itself included.
            logits: tokens whose logits are computed; None: all.
        """
        weights = self.attention_weights + 3 * self.hidden * self.intermediate
        attention = 2 * self.heads * self.size * context  # products with keys and with values
        head = self.vocabulary * self.hidden * (tokens if logits is None else logits)
        return 2 * (tokens * self.layers * (weights + attention) + head)

    def train(
        self, tokens: float, context: float, *, checkpointing: bool = False, logits: float | None = None, adapter: int | None = None
    ) -> float:
        """Operations of a forward and a backward pass.

        Args:
            tokens, context, logits: as for ``forward``.
            checkpointing: activations are recomputed in the backward pass.
            adapter: parameters of an adapter on frozen weights, of which no gradient is computed; None: all are trained.
        """
        passes = 4 if checkpointing else 3
        full = self.forward(tokens, context, logits=logits) * passes
        if adapter is None:
            return full
        return full - self.forward(tokens, 0, logits=logits) + 2 * adapter * tokens * passes

    def sequence(self, length: float) -> float:
        """Operations of a forward pass over one sequence of ``length`` tokens under a causal mask."""
        return self.forward(length, (length + 1) / 2)


# Numbers of the config.json on the Hugging Face hub; the totals that follow from them are those of the hub's safetensors index
# (tests/plan/test_flops.py). Math and Instruct versions share the shape of their base.
SHAPES = {
    "Llama-3.1-8B": Shape(4096, 32, 32, 8, 14336, 128256, False, False),  # meta-llama/Llama-3.1-8B
    "Llama-3.2-1B": Shape(2048, 16, 32, 8, 8192, 128256, True, False),  # meta-llama/Llama-3.2-1B
    "Qwen2.5-0.5B": Shape(896, 24, 14, 2, 4864, 151936, True, True),  # Qwen/Qwen2.5-0.5B
    "Qwen2.5-1.5B": Shape(1536, 28, 12, 2, 8960, 151936, True, True),  # Qwen/Qwen2.5-1.5B, Qwen2.5-Math-1.5B
    "Qwen2.5-7B": Shape(3584, 28, 28, 4, 18944, 152064, False, True),  # Qwen/Qwen2.5-7B, Qwen2.5-Math-7B
    "Qwen2.5-32B": Shape(5120, 64, 40, 8, 27648, 152064, False, True),  # Qwen/Qwen2.5-32B, QwQ-32B-Preview
    "Qwen2.5-72B": Shape(8192, 80, 64, 8, 29568, 152064, False, True),  # Qwen/Qwen2.5-72B, Qwen2.5-Math-72B-Instruct
}
ALIASES = {"QwQ-32B": "Qwen2.5-32B"}


def named(name: str) -> Shape | None:
    """The shape that a hub id or label names, or None: the family, and the size among the parts between hyphens."""
    words = name.rsplit("/", 1)[-1].lower().replace("meta-llama-3", "llama-3")
    for alias, shape in {**{k: k for k in SHAPES}, **ALIASES}.items():
        family, size = alias.lower().rsplit("-", 1)
        if words.startswith(family) and size in words.split("-"):
            return SHAPES[shape]
    return None


def from_json(config: dict[str, Any]) -> Shape:
    """The shape in a checkpoint's ``config.json``.

    Raises:
        ConfigError: another architecture than Llama or Qwen2, or a number is missing.
    """
    kind = config.get("model_type")
    if kind not in ("llama", "qwen2"):
        raise ConfigError(f"cannot plan for model_type={kind!r}: the formulas are those of llama and qwen2")
    try:
        return Shape(
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config.get("num_key_value_heads") or config["num_attention_heads"],
            config["intermediate_size"],
            config["vocab_size"],
            bool(config.get("tie_word_embeddings", False)),
            kind == "qwen2" or bool(config.get("attention_bias", False)),
            config.get("head_dim"),
        )
    except KeyError as error:
        raise ConfigError(f"cannot plan: the checkpoint's config.json has no {error.args[0]}") from None


def shape_of(model: dict[str, Any]) -> Shape:
    """The shape of a configuration's ``model``: of the folder, of the hub id, or of the micro model that it describes.

    Raises:
        ConfigError: a hub id that is neither on this machine nor in ``SHAPES``, an unreadable or foreign ``config.json``.
    """
    path, micro = model["path"], model["micro"]
    if path is None:
        from repro.models.tokenizer import vocabulary

        qwen = micro["architecture"] == "qwen2"
        sizes = (micro[key] for key in ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size"))
        return Shape(*sizes, len(vocabulary()), True, qwen)
    folder = Path(path).expanduser()
    if folder.is_dir():
        try:
            return from_json(json.loads((folder / "config.json").read_text()))
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot plan: {folder / 'config.json'} cannot be read ({type(error).__name__})") from None
    found = named(path)
    if found is None:
        known = ", ".join(SHAPES)
        raise ConfigError(f"cannot plan model.path={path!r}: its size is not known here; give its folder, or one of {known}")
    return found
