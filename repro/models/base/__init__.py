"""The base checkpoints that ship with the project: found by the key of the pre-training stage that made them, checked by checksum.

Training one takes about 15 minutes on a core, which a first run should not wait for. ``python -m repro.models.pretrain`` makes them again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from repro.config import ConfigError
from repro.models.load import machine
from repro.store import MANIFEST, Stage, Store, problem_of, read_manifest

HERE = Path(__file__).parent


def stage_of(micro: dict[str, Any], source: Path | None, threads: int) -> Stage:
    """The pre-training stage: named by the checksums of the shipped checkpoint, or by recipe and machine, since another number of threads
    changes the last bits of the weights."""
    from repro.models.pretrain import VERSION

    made_by = machine(threads) if source is None else {"files": json.loads((source / MANIFEST).read_text())["files"]}
    return Stage("pretrain", {**micro, **made_by}, {}, VERSION)


def shipped(micro: dict[str, Any]) -> Path | None:
    """The shipped checkpoint made by exactly this recipe, or None if there is none or ``shipped`` is off.

    Raises:
        ConfigError: it is damaged; training another one unasked would take minutes and give other numbers.
    """
    from repro.models.pretrain import VERSION

    if not micro["shipped"]:
        return None
    for folder in sorted(p for p in HERE.iterdir() if (p / MANIFEST).is_file()):
        manifest = read_manifest(folder)
        if isinstance(manifest, dict):
            recipe = {**{key: manifest["config"].get(key) for key in micro}, "shipped": True}
            if recipe != micro or manifest["version"] != VERSION:
                continue
        problem = problem_of(folder)
        if problem is not None:
            raise ConfigError(
                f"the checkpoint repro/models/base/{folder.name} that ships with the project is damaged ({problem}): restore it with "
                "`git checkout -- repro/models/base`, or train it again with model.micro.shipped=false"
            )
        return folder
    return None


def obtain(model: dict[str, Any], store: Store, threads: int):
    """The base stage in the store: copied from the shipped checkpoint if there is one, trained otherwise.

    Raises:
        ConfigError: the shipped checkpoint is damaged.
    """
    from repro.models import pretrain

    micro = model["micro"]
    source = shipped(micro)

    def build(work: Path) -> dict[str, Any]:
        if source is None:
            return pretrain.build(micro, work)
        facts = json.loads((source / MANIFEST).read_text())
        shutil.rmtree(work / "model", ignore_errors=True)
        shutil.copytree(source / "model", work / "model")
        pretrain.log.info("pretrain: shipped checkpoint %s; %s", source.name, pretrain.describe(facts["measured"]))
        return {"tokens": facts["tokens"], "measured": facts["measured"], "shipped": source.name}

    return store.get_or_build(stage_of(micro, source, threads), build)


def install(model: dict[str, Any], store: Store, threads: int) -> str:
    """Train the recipe (or take it from the store) and make it the shipped checkpoint. Returns a line that says what was done."""
    built = obtain({**model, "micro": {**model["micro"], "shipped": False}}, store, threads)
    target = HERE / model["name"]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(built.path, target)
    size = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    return f"{model['name']}: {'taken from the store' if built.reused else 'trained'}, {size / 1e6:.2f} MB in repro/models/base/{model['name']}"
