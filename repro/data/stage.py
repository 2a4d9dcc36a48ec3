"""Data of a cell: the ``sft_data`` stage (what SFT imitates) and the check that no train set holds questions of the cell's benchmarks.

The completions of a teacher are journalled below the store, by teacher and not by N: a cell with N = 64 asks only for what the one with 32 lacks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repro.config import ConfigError, own_chains
from repro.store import FULL_HASH_LIMIT, Built, Stage, Store, file_hash, fingerprint

log = logging.getLogger(__name__)
JOURNALS = 1  # of the journals' names: what a teacher said outlives versions of what is made of it


def obtain(config: dict[str, Any], store: Store, machine: dict[str, Any], verifier: Any) -> tuple[str | None, dict[str, str], Built | None]:
    """What SFT imitates.

    Returns:
        path of a set (``repro.data.sets``), None for the micro world's own chains; what identifies it, as inputs of the SFT stage's key; the
        stage that made it, None for a file.

    Raises:
        ConfigError: a file or a teacher that cannot be used. EndpointError: the teacher's endpoint; what came stays in the journal.
    """
    from repro.data import distill, rejection
    from repro.data.sets import located

    sft = config["sft"]
    if own_chains(sft):
        return None, {}, None
    if sft["file"]:
        source = located(sft["file"])
        return source, {"set": _named(source)}, None
    teacher = sft["teacher"]
    facts = {"teacher": distill.identity(teacher), "data": identified(config["data"])}
    if teacher["path"]:
        facts |= {"engine": teacher["engine"], **machine}
    journal = store.root / ".teachers" / f"{Stage('sft_data', facts, {}, JOURNALS).key}.jsonl"
    read = {**facts, "n": sft["samples_per_problem"], "verifier": verifier.version}
    stage = Stage("sft_data", read, {}, rejection.VERSION)

    def build(work: Path) -> dict[str, Any]:
        sampling, seed = distill.sampling_of(teacher), config["data"]["seed"]
        settings = {"verifier": verifier, "keep": teacher["keep"], "journal": journal}
        settings["facts"] = {"allow_contaminated": config["allow_contaminated"]}
        made = rejection.distill(
            tasks(config["data"]), distill.make_teacher(teacher), sft["samples_per_problem"], sampling, seed, work, **settings
        )
        if not made["counts"][str(sft["samples_per_problem"])]["kept"]:
            raise ConfigError(
                f"sft.teacher: none of the answers of {made['teacher']} is right; their texts are in {journal}: is it the right model, "
                "and is sft.teacher.max_tokens enough?"
            )
        return {key: made[key] for key in ("counts", "prompts", "teacher", "warning") if key in made} | {"tokens": _sampled(made)}

    built = store.get_or_build(stage, build)
    return str(built.path / "kept.parquet"), {"sft_data": stage.key}, built


def _sampled(made: dict[str, Any]) -> int:
    return made["counts"][str(made["n"])]["completion_tokens"]


def _named(source: str) -> str:
    """What tells two versions of a set apart; of the hub only its name is known."""
    if source.startswith("hub:"):
        return source
    path = Path(source)
    if path.is_dir():
        return Stage("set", {"files": fingerprint(path)}, {}, 1).key
    facts = path.stat()
    return file_hash(path) if facts.st_size <= FULL_HASH_LIMIT else f"{facts.st_size}-{facts.st_mtime_ns}"


def identified(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` as the keys of stages read it: with the contents of the prompt files it names, since a file may change under its name.

    A file that is not there is left out: whatever reads it says so, and not everything does.
    """
    from evals.files import BenchmarkError
    from repro.data.prompts import path_of
    from repro.data.web import SPLITS, rl_data

    names = {used["file"] for used in (data, rl_data(data)) if used["split"] == "file" and used["file"]}
    if data["split"] == "mixture":
        names |= {name for name in data["mixture"] if name not in SPLITS}
    contents = {}
    for name in sorted(names):
        try:
            path = path_of(name)
        except BenchmarkError:
            continue
        if path.is_file():
            contents[name] = _named(str(path))
    return {**data, "contents": contents} if contents else data


def tasks(data: dict[str, Any]) -> list[Any]:
    """The prompts of SFT's train set, with references."""
    from repro.data.rejection import Task
    from repro.data.web import prompt_id, train_items

    return [Task(prompt_id(split, item, data), item.problem.prompt(), item.reference, item.task) for split, item in train_items(data)]


def contamination(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the train sets of a cell share with its benchmarks, by benchmark (``repro.data.decontaminate.Report.facts``); for ``cell.json``.

    The micro world's own problems need no look: no test problem can be drawn for training.

    Raises:
        ConfigError: a train set contains questions and ``allow_contaminated`` is false; a file that cannot be read.
    """
    from repro.data.decontaminate import check

    sources = dict(_sources(config))
    if not sources:
        return {}
    every = ((f"{name}/{identity}", text) for name, prompts in sources.items() for identity, text in prompts)
    report = check(every, list(config["eval"]["benchmarks"]), micro_questions=config["eval"]["questions"])
    if report.contained() and not config["allow_contaminated"]:
        where = sorted({prompt.split("/", 1)[0] for prompt in report.dirty})
        raise ConfigError(
            f"{' and '.join(where)}: {len(report.dirty)} of {report.prompts} training prompts contain questions of the benchmarks "
            f"({report.summary()}); leave them out (python -m repro.data.decontaminate FILE out=CLEAN.jsonl), or allow_contaminated=true to "
            "train on them, and every report says so"
        )
    if report.contained():
        log.warning("the train set contains benchmark questions: %s (allow_contaminated=true)", report.summary())
    return report.facts(config["allow_contaminated"])


def _sources(config: dict[str, Any]) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """(configuration key, its prompts) of every train set that the cell reads and that is not of the micro world."""
    from repro.data.sets import pairs
    from repro.data.teacher import messages, user_text
    from repro.data.web import SPLITS, rl_data, train_items

    def prompts(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
        return ((item.problem.id, user_text(item.problem.prompt())) for split, item in train_items(data) if split not in SPLITS)

    def foreign(data: dict[str, Any]) -> bool:
        return data["split"] == "file" or (data["split"] == "mixture" and any(name not in SPLITS for name in data["mixture"]))

    def asked(source: str) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()  # a prompt has many responses
        for index, pair in enumerate(pairs(source)):
            text = "\n".join(m["content"] for m in messages(pair.prompt) if m["role"] == "user")
            if text not in seen:
                seen.add(text)
                yield str(index), text

    sft, data = config["sft"], config["data"]
    trains = sft["name"] != "none"
    if trains and sft["file"]:
        yield "sft.file", asked(sft["file"])
    elif trains and foreign(data):
        yield "data", prompts(data)
    if config["rl"]["name"] != "none" and foreign(wanted := rl_data(data)) and (not trains or sft["file"] or wanted is not data):
        yield "data.rl" if data["rl"] else "data", prompts(wanted)
