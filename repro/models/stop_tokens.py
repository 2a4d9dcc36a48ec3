"""The tokens at which a completion ends, the same ones wherever something is sampled or scored.

A chat model's generation config often names several (a turn's end beside the text's end), its
config.json may name others, and its tokenizer has one. A completion ends at any of them; the one
that ended it counts as a token of the completion and is no part of its text. What is trained on
ends with the tokenizer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def declared(*configs: Any) -> list[int]:
    """Return the ``eos_token_id`` of these configurations, one or several each, without repeats."""
    found: list[int] = []
    for config in configs:
        ids = getattr(config, "eos_token_id", None)
        found += ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids]
    return list(dict.fromkeys(found))


def stop_ids(tokenizer: Any, *configs: Any) -> list[int]:
    """Return the ids that end a completion, the tokenizer's own first.

    Args:
        tokenizer: of the checkpoint.
        configs: whatever has an ``eos_token_id``: the generation config of a model that
            ``repro.models.load`` loaded, which has those of its config.json too.
    """
    return list(dict.fromkeys([*declared(tokenizer), *declared(*configs)]))


def stop_ids_of(path: Path, tokenizer: Any) -> list[int]:
    """Return the ids that end a completion of the checkpoint in ``path``, which is not loaded."""
    from transformers import AutoConfig, GenerationConfig

    configs: list[Any] = [AutoConfig.from_pretrained(str(path)).get_text_config()]
    if (path / "generation_config.json").is_file():
        configs.insert(0, GenerationConfig.from_pretrained(str(path)))
    return stop_ids(tokenizer, *configs)


def without_stop(tokens: list[int], stops: Iterable[int]) -> list[int]:
    """Return ``tokens`` without the token that ended them, if one of ``stops`` did."""
    return tokens[:-1] if tokens and tokens[-1] in stops else tokens
