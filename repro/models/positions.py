"""How long a sequence a checkpoint can take; beyond its positions a model computes noise without a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from repro.config import ConfigError


def positions_of(path: Path) -> int | None:
    """Return the tokens that a checkpoint's positions reach, stretched ones included.

    Returns:
        None if its config.json does not say.

    Raises:
        ConfigError: no config.json that can be read.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(path)).get_text_config()
    except Exception as error:  # the library raises whatever its parsers raise
        line = next(iter(str(error).splitlines()), "?")
        raise ConfigError(f"model.path={str(path)!r} has no usable config.json: {line}") from None
    window = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if window and rope.get("rope_type") in ("linear", "dynamic", "yarn") and rope.get("factor"):
        original = rope.get("original_max_position_embeddings") or window
        return max(window, int(original * rope["factor"]))
    return window


def refuse_longer(path: Path, tokens: int, what: str, remedy: str) -> None:
    """Refuse sequences that do not fit a checkpoint's positions.

    Args:
        path: folder of the checkpoint.
        tokens: of the longest sequence.
        what: says what has so many tokens.
        remedy: says what to change; ``{positions}`` stands for what there is.

    Raises:
        ConfigError: in one line.
    """
    positions = positions_of(path)
    if positions is not None and tokens > positions:
        said = remedy.format(positions=positions)
        raise ConfigError(f"{what}: {tokens} tokens, but {path} has {positions} positions; {said}")


def longest_prompt(tokenizer: Any, prompts: Iterable[list[dict[str, str]]], room: int) -> int:
    """Return the tokens of the longest prompt, with the generation prompt.

    A token has at least a byte, so prompts of fewer bytes than ``room`` tokens are not encoded
    but one, for the template's own.

    Args:
        tokenizer: with a chat template.
        prompts: lists of messages.
        room: what a prompt may have; shorter ones need not be told apart.
    """
    longest = 0
    for messages in prompts:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        if longest and len(text.encode()) <= max(room, longest):
            continue
        longest = max(longest, len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return longest
