"""Models and tokenizers: build the micro architectures, load any checkpoint, check what training needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from repro.config import ConfigError
from repro.models.stop_tokens import declared


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


def reach_hub() -> None:
    """Fails at once where the hub client would retry for half a minute. Raises OSError where the hub cannot be reached."""
    import socket
    from urllib.parse import urlparse
    from urllib.request import getproxies

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    if not getproxies():
        hub = urlparse(constants.ENDPOINT)
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()


def resolve(path: str, revision: str | None, key: str = "model.path") -> Path:
    """The local folder of a checkpoint, downloaded from the hub if ``path`` is no folder. ``key``: names it in messages.

    Raises:
        ConfigError: neither a folder, nor cached, nor to be had from the hub.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        reach_hub()
        return Path(snapshot_download(path, revision=revision))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        where = "it is no folder, not in the Hugging Face cache, and cannot be had from the hub"
        raise ConfigError(f"{key}={path!r}: {where} ({reason}); give the folder of a checkpoint") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["?"]
    return f"{type(error).__name__}: {lines[0]}"


def load_tokenizer(path: str | Path):
    """The tokenizer of a checkpoint.

    A generic one is loaded as what its files say: ``AutoTokenizer`` takes the model type's own class instead, whose splitting of text is
    another (Qwen2's drops every word of the micro world that begins with a space).

    Raises:
        ConfigError: no tokenizer, chat template, EOS or PAD token there.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    described = Path(path) / "tokenizer_config.json"
    try:
        kind = json.loads(described.read_text()).get("tokenizer_class") if described.is_file() else None
        generic = kind in ("TokenizersBackend", "PreTrainedTokenizerFast")
        tokenizer = (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(str(path))
    except Exception as error:  # the library raises whatever its parsers raise
        raise ConfigError(f"model.path={str(path)!r} has no tokenizer that can be loaded: {_first_line(error)}") from None
    for name in ("eos_token", "pad_token", "chat_template"):
        if getattr(tokenizer, name) is None:
            made = "python -m repro.models.template MODEL out=FOLDER makes a copy with one" if name != "eos_token" else "save it with one"
            raise ConfigError(f"model.path={str(path)!r}: its tokenizer has no {name}; {made}")
    return tokenizer


def device_name() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def machine(threads: int) -> dict[str, Any]:
    """What of the machine changes results by more than nothing, for a stage's key: the device, and on a CPU the number of threads."""
    device = device_name()
    return {"device": device, "threads": threads if device == "cpu" else None}


def load_model(path: str | Path, *, training: bool = False, half: bool = False):
    """The causal language model of a checkpoint: float32 for training and on a CPU, bfloat16 for generation on a GPU.

    ``half``: bfloat16 on a GPU for training too, of a base that an adapter leaves as it is.

    Of its ``generation_config`` only the ids that end a completion are kept
    (``repro.models.stop_tokens``): a checkpoint's own repetition penalty or min-p would otherwise change every
    sample that an evaluation or a rollout draws, unseen.

    Raises:
        ConfigError: it cannot be loaded, or its files do not hold all the weights that its config.json asks for.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    half = device_name() == "cuda" and (half or not training)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=torch.bfloat16 if half else torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to name them below
        )
    except Exception as error:  # SafetensorError derives from Exception only
        raise ConfigError(f"model.path={str(path)!r} cannot be loaded: {_first_line(error)}") from None
    # The library fills what is missing with random numbers and goes on.
    for what in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in info[what])
        if names:
            raise ConfigError(
                f"model.path={str(path)!r} cannot be used: its files lack or misshape {len(names)} tensors that its config.json asks for "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); give a complete checkpoint"
            )
    broken = next((name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken:
        raise ConfigError(
            f"model.path={str(path)!r} cannot be used: its tensor {broken} holds numbers that are not finite; the training that made it "
            "diverged, or the file is damaged"
        )
    ends = declared(model.generation_config, model.config.get_text_config())
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends or None,
        pad_token_id=model.config.pad_token_id,
    )
    if training and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        return model  # what a GPU holds of it goes there when it is spread
    return model.to(device_name())


def encode_chat(tokenizer, prompt: str) -> list[int]:
    """Token ids of one user message with the generation prompt."""
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
