"""The base checkpoints that ship with the project: found by the key of the pre-training stage that made them, checked by checksum.

Training one takes about 15 minutes on a core, which a first run should not wait for. ``python -m repro.models.pretrain`` makes them again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from repro.store import MANIFEST, Stage, Store, problem_of

HERE = Path(__file__).parent


def stage_of(model: dict[str, Any]) -> Stage:
    """The pre-training stage of a micro model. ``shipped`` is part of it: trained again on another CPU, the last bits differ."""
    from repro.models.pretrain import VERSION

    return Stage("pretrain", dict(model["micro"]), {}, VERSION)


def ship_key(model: dict[str, Any]) -> str:
    """Key of the recipe, whether the checkpoint is taken or trained."""
    return stage_of({"micro": {**model["micro"], "shipped": False}}).key


def shipped(model: dict[str, Any]) -> Path | None:
    """The shipped checkpoint made by exactly this recipe, or None. A damaged one counts as none."""
    for folder in sorted(p for p in HERE.iterdir() if (p / MANIFEST).is_file()):
        if json.loads((folder / MANIFEST).read_text())["key"] == ship_key(model) and problem_of(folder) is None:
            return folder
    return None


def obtain(model: dict[str, Any], store: Store):
    """The base stage in the store: copied from the shipped checkpoint if there is one, trained otherwise."""
    from repro.models import pretrain

    micro = model["micro"]
    source = shipped(model) if micro["shipped"] else None

    def build(work: Path) -> dict[str, Any]:
        if source is None:
            return pretrain.build(micro, work)
        facts = json.loads((source / MANIFEST).read_text())
        shutil.rmtree(work / "model", ignore_errors=True)
        shutil.copytree(source / "model", work / "model")
        pretrain.log.info("pretrain: shipped checkpoint %s; %s", source.name, pretrain.describe(facts["measured"]))
        return {"tokens": facts["tokens"], "measured": facts["measured"], "shipped": source.name}

    return store.get_or_build(stage_of(model), build)


def install(model: dict[str, Any], store: Store) -> str:
    """Train the recipe (or take it from the store) and make it the shipped checkpoint. Returns a line that says what was done."""
    built = obtain({**model, "micro": {**model["micro"], "shipped": False}}, store)
    target = HERE / model["name"]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(built.path, target)
    size = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    return f"{model['name']}: {'taken from the store' if built.reused else 'trained'}, {size / 1e6:.2f} MB in repro/models/base/{model['name']}"
