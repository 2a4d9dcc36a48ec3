"""Distillation by rejection sampling (section 2.4, appendix E.2): a teacher answers every prompt N times, a verifier keeps the right answers.

What is asked and written: ``repro.data.rejection``. Here are the teachers that settings name, and the command:

    python -m repro.data.distill prompts=math_train_prompts.jsonl.gz url=http://localhost:8000/v1 model=Qwen/QwQ-32B-Preview n=32 out=qwq-n32
    python -m repro sft=long sft.teacher.url=http://localhost:8000/v1 sft.teacher.model=NAME      # as a stage of a cell
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from repro.client import ChatClient, EndpointError
from repro.config import ConfigError
from repro.data.decontaminate import Report, check
from repro.data.rejection import KEEP, Task, distill
from repro.data.teacher import EndpointTeacher, EngineTeacher, Teacher, user_text

log = logging.getLogger(__name__)
METHODS = ("answer", "actions")


def sampling_of(teacher: dict[str, Any]) -> dict[str, Any]:
    return {key: teacher[key] for key in ("temperature", "top_p", "max_tokens")}


def teacher_name(teacher: dict[str, Any]) -> str:
    """What tells a teacher (plain values of ``repro.config.TeacherConfig``) from others: the model, wherever it is served; a folder by its files."""
    from repro.store import fingerprint

    if teacher["url"]:
        name = teacher["model"]
    elif (folder := Path(teacher["path"]).expanduser()).is_dir():
        name = f"{folder.name}@{hashlib.sha256(json.dumps(fingerprint(folder)).encode()).hexdigest()[:12]}"
    else:
        name = f"{teacher['path']}@{teacher['revision'] or 'main'}"
    if teacher["method"] == "answer":
        return name
    from repro.data.actions import VERSION as ACTIONS

    return f"actions-{ACTIONS}({name}{', ' + teacher['reflector'] if teacher['reflector'] else ''})"


def identity(teacher: dict[str, Any]) -> dict[str, Any]:
    """What of a teacher's settings decides what it says; not where it is served or how fast it is asked."""
    return {"name": teacher_name(teacher), **sampling_of(teacher), "keep": teacher["keep"]}


def make_teacher(teacher: dict[str, Any]) -> Teacher:
    """The teacher that the settings describe; loads a checkpoint.

    Raises:
        ConfigError: a checkpoint or a setting that cannot be used.
    """
    found: Teacher
    reflector: Teacher | None = None
    if teacher["url"]:
        options = {"timeout": teacher["timeout"], "retries": teacher["retries"], "concurrency": teacher["concurrency"]}
        try:
            found, reflector = (
                EndpointTeacher(ChatClient(teacher["url"], model, teacher["api_key_env"], **options)) if model else None
                for model in (teacher["model"], teacher["reflector"])
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
    else:
        from repro.models.load import resolve

        room = teacher["max_tokens"] + teacher["max_prompt"]
        if teacher["method"] == "actions":  # its prompts show the thoughts so far; a token has at least a character
            from repro.data.actions import SHOWN

            room += SHOWN
        folder = resolve(teacher["path"], teacher["revision"], "the teacher's path")
        cut = teacher["cut"] or teacher["method"] == "actions"  # of which prompts grow
        found = EngineTeacher(folder, teacher["engine"], room, cut=cut)
    if teacher["method"] == "actions":
        from repro.data.action_teacher import ActionTeacher

        found = ActionTeacher(found, reflector, concurrency=teacher["concurrency"] if teacher["url"] else 1)
    found.name = teacher_name(teacher)
    return found


HELP = f"""python -m repro.data.distill prompts=FILE out=DIR (url=URL model=NAME | path=CHECKPOINT) [key=value ...]

Samples N answers a prompt from a teacher, keeps the right ones, writes DIR/kept.parquet with where every row comes from. Run the same line again
to continue what was killed. Prompts that contain a question of a benchmark that can be read (REPRO_DATA_DIR) are left out.

  prompts      JSONL or Parquet with the columns problem (or prompt, taken as it stands) and answer; id and level if there are
  limit        the first ones only
  out          folder of the results and of the journal
  url, model   OpenAI-compatible endpoint, such as http://localhost:8000/v1, and the model it serves
  api_key_env  environment variable with the endpoint's key
  concurrency  requests at a time; 16
  timeout      seconds for one answer; 600. retries: after a failure; 4
  path         folder or hub name of a checkpoint instead of an endpoint. revision: commit of the hub's
  engine       transformers, vllm; transformers
  max_prompt   tokens of the longest prompt, for a checkpoint; 2048
  cut          true: answers may end at the checkpoint's last position; false refuses what may not fit
  method       {", ".join(METHODS)}; answer. actions: action prompting (python -m repro.data.actions --help)
  reflector    model that reflects, with method=actions; the same one
  n            candidates a prompt; 32
  temperature  1. top_p: 0.95. max_tokens: 8192 (QwQ-32B-Preview in the paper; Qwen2.5-Math-72B-Instruct: 0.7, 0.95, 4096)
  seed         of sampling; 0
  keep         {", ".join(KEEP)}; correct
  allow_contaminated  true: keep prompts that contain benchmark questions; every result then says so; false

Exit code: 0, or 2 for input that has to be mended or an endpoint that failed, with one line that says how; 130 interrupted."""


def read(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings of the command. Raises ConfigError."""
    from evals.engines import ENGINES
    from repro.keys import choice, pairs, real, whole

    plain = lambda key, text: text  # noqa: E731
    truth = lambda key, text: choice(key, text, ("true", "false")) == "true"  # noqa: E731
    keys: dict[str, tuple[Any, Any]] = {
        "prompts": (None, plain),
        "limit": (None, whole),
        "out": (None, plain),
        "url": (None, plain),
        "model": (None, plain),
        "api_key_env": (None, plain),
        "concurrency": (16, whole),
        "timeout": (600.0, lambda key, text: real(key, text, 1e-3, 1e6)),
        "retries": (4, lambda key, text: whole(key, text, 0)),
        "path": (None, plain),
        "revision": (None, plain),
        "engine": ("transformers", lambda key, text: choice(key, text, list(ENGINES))),
        "max_prompt": (2048, whole),
        "cut": (False, truth),
        "method": ("answer", lambda key, text: choice(key, text, METHODS)),
        "reflector": (None, plain),
        "n": (32, whole),
        "temperature": (1.0, lambda key, text: real(key, text, 0, 100)),
        "top_p": (0.95, lambda key, text: real(key, text, 1e-6, 1)),
        "max_tokens": (8192, whole),
        "seed": (0, lambda key, text: whole(key, text, 0)),
        "keep": ("correct", lambda key, text: choice(key, text, KEEP)),
        "allow_contaminated": (False, truth),
    }
    given = pairs(arguments, list(keys))
    settings = {key: reader(key, given[key]) if key in given else default for key, (default, reader) in keys.items()}
    for key in ("prompts", "out"):
        if settings[key] is None:
            raise ConfigError(f"{key} is needed (--help)")
    if bool(settings["url"]) == bool(settings["path"]):
        raise ConfigError("give a teacher: either url and model of an endpoint, or path of a checkpoint (--help)")
    if settings["url"] and not settings["model"]:
        raise ConfigError("model is needed: the name of the model that the endpoint serves")
    if settings["reflector"] and (settings["method"] != "actions" or not settings["url"]):
        raise ConfigError("reflector needs method=actions and an endpoint")
    return settings


def clean(tasks: Sequence[Task], texts: Sequence[str], allow: bool, out: Path) -> tuple[list[Task], Report]:
    """The tasks without those that contain benchmark questions (all, with ``allow``), and the report, also as OUT/overlaps.parquet."""
    report = check(zip((task.id for task in tasks), texts, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    report.write(out / "overlaps.parquet")
    dirty = set() if allow else report.dirty
    return [task for task in tasks if task.id not in dirty], report


def _tasks(settings: dict[str, Any]) -> Iterator[tuple[Task, str]]:
    from repro.data.prompts import load_problems

    problems = load_problems(settings["prompts"], settings["limit"], key="prompts", answers=settings["keep"] == "correct")
    for problem in problems:
        yield Task(problem.id, problem.prompt(), problem.answer, problem.task), user_text(problem.prompt())


def main(arguments: Sequence[str]) -> int:
    from evals.files import BenchmarkError
    from repro.errors import explain
    from repro.verifiers import Verifier

    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "evals"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        settings = read(arguments)
        found = list(_tasks(settings))
        out = Path(settings["out"])
        tasks, report = clean([task for task, _ in found], [text for _, text in found], settings["allow_contaminated"], out)
        for line in report.table().splitlines():
            log.info("  %s", line)
        dropped = len(found) - len(tasks)
        facts = {"prompts_from": settings["prompts"], "prompts_dropped": dropped, "allow_contaminated": settings["allow_contaminated"]}
        facts["contamination"] = report.facts(settings["allow_contaminated"], dropped)
        with Verifier() as verifier:
            done = distill(
                tasks,
                make_teacher(settings),
                settings["n"],
                sampling_of(settings),
                settings["seed"],
                out,
                verifier=verifier,
                keep=settings["keep"],
                facts=facts,
            )
    except KeyboardInterrupt:
        print("repro.data.distill: interrupted; the same line continues where it was", file=sys.stderr)
        return 130
    except (ConfigError, EndpointError, BenchmarkError, OSError) as error:
        print(f"repro.data.distill: {explain(error, 'out') or error}", file=sys.stderr)
        return 2
    last = done["counts"][str(settings["n"])]
    print(f"{last['kept']:,} of {last['candidates']:,} candidates kept, {last['kept_tokens']:,} tokens: {out / 'kept.parquet'}")
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(lambda: main(sys.argv[1:]))
