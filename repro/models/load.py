"""Models and tokenizers: build the micro architectures, load any checkpoint, check what training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repro.config import ConfigError


def build_micro(micro: dict[str, Any]):
    """A randomly initialised Llama or Qwen2 of the size that ``MicroModel`` describes, float32. Seed torch first."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for every file read or written would bury ours

    from repro.models.tokenizer import EOS, PAD, vocabulary

    words = vocabulary()
    shape = {
        "vocab_size": len(words),
        "hidden_size": micro["hidden_size"],
        "num_hidden_layers": micro["layers"],
        "num_attention_heads": micro["heads"],
        "num_key_value_heads": micro["kv_heads"],
        "intermediate_size": micro["intermediate_size"],
        "max_position_embeddings": micro["context"],
        "tie_word_embeddings": True,
        "pad_token_id": words.index(PAD),
        "eos_token_id": words.index(EOS),
        "bos_token_id": None,
    }
    if micro["architecture"] == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    return Qwen2ForCausalLM(Qwen2Config(**shape))


def check_source(path: str | Path) -> None:
    """Fail at once where the hub client would retry for a minute: neither a folder, nor cached, nor reachable.

    Raises:
        ConfigError: that.
    """
    import socket
    from urllib.parse import urlparse
    from urllib.request import getproxies

    from huggingface_hub import constants, try_to_load_from_cache

    if Path(path).is_dir() or isinstance(try_to_load_from_cache(str(path), "config.json"), str) or getproxies():
        return
    hub = urlparse(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError as error:
        where = "it is no folder, not in the Hugging Face cache, and the hub cannot be reached"
        raise ConfigError(f"model.path={str(path)!r}: {where} ({error}); give the folder of a checkpoint") from None


def load_tokenizer(path: str | Path, revision: str | None = None):
    """The tokenizer of a checkpoint.

    Raises:
        ConfigError: no tokenizer, chat template, EOS or PAD token there.
    """
    from transformers import AutoTokenizer

    check_source(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), revision=revision)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"model.path={str(path)!r} has no tokenizer that can be loaded: {first}") from None
    for name in ("eos_token", "pad_token", "chat_template"):
        if getattr(tokenizer, name) is None:
            raise ConfigError(f"model.path={str(path)!r}: its tokenizer has no {name}; save the checkpoint with one")
    return tokenizer


def load_model(path: str | Path, revision: str | None = None):
    """The causal language model of a checkpoint: float32 on a CPU, bfloat16 on a GPU.

    Raises:
        ConfigError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    check_source(path)
    logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    try:
        model = AutoModelForCausalLM.from_pretrained(str(path), revision=revision, dtype=torch.bfloat16 if gpu else torch.float32)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"model.path={str(path)!r} cannot be loaded: {first}") from None
    return model.to("cuda" if gpu else "cpu")


def encode_chat(tokenizer, prompt: str) -> list[int]:
    """Token ids of one user message with the generation prompt."""
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
