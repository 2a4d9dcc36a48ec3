"""The same Llama with heads twice as wide: vLLM on a CPU attends with heads of 32 and more, the micro bases have 16.

Dimension i of a head and its partner half a head on turn at the rate theta^(-i/(half)), which in the wide head is that of dimension 2i. So the
numbers stay the same where queries and keys go there, the rest is zero, and queries are scaled for the wider root in the softmax.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch


def widen(source: Path, target: Path) -> None:
    """Copies the checkpoint ``source`` to ``target``, with heads twice as wide and the same outputs."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    settings = json.loads((source / "config.json").read_text())
    old = settings["hidden_size"] // settings["num_attention_heads"]
    settings["head_dim"] = 2 * old
    (target / "config.json").write_text(json.dumps(settings))
    half = torch.arange(old // 2) * 2
    place = torch.cat([half, half + old])  # of the old dimensions in a wide head
    weights = load_file(source / "model.safetensors")
    for name, weight in weights.items():
        if ".self_attn." not in name:
            continue
        rows = weight.T if "o_proj" in name else weight  # o_proj reads heads where the others write them
        heads = rows.view(-1, old, rows.shape[1])
        wide = torch.zeros(len(heads), 2 * old, rows.shape[1])
        wide[:, place] = heads * (2**0.5 if "q_proj" in name else 1.0)
        wide = wide.flatten(0, 1)
        weights[name] = (wide.T if "o_proj" in name else wide).contiguous()
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
