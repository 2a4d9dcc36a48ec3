"""Distillation: what is kept and counted, killed and resumed against an endpoint process, as a stage of a cell, bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.data.candidates import Counts
from repro.data.rejection import Task, distill
from repro.data.teacher import Completion
from repro.data.web import source_items, teacher_answer
from repro.verifiers import Verifier
from tests.conftest import ROOT, SHRINK, repro
from tests.data.test_webinstruct import server

ITEMS = source_items("web", 40, 0)
SAMPLING = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 64}
LLAMA = ROOT / "repro" / "models" / "base" / "llama" / "model"


class Erring:
    """The erring teacher of the web set; the tokens of an answer are a function of (problem, sample)."""

    name = "erring"

    def __init__(self) -> None:
        self.asked = 0

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None):
        by_prompt = {item.problem.prompt(): item.problem for item in ITEMS}
        for index, prompt in enumerate(prompts):
            for sample in range(n) if samples is None else samples[index]:
                self.asked += 1
                yield Completion(index, sample, f"so \\boxed{{{teacher_answer(by_prompt[prompt], sample, 0)}}}", 3, 5 + sample, "stop")


def tasks() -> list[Task]:
    return [Task(item.problem.id, item.problem.prompt(), item.problem.answer) for item in ITEMS]


def right(n: int) -> set[tuple[str, int]]:
    return {(i.problem.id, s) for i in ITEMS for s in range(n) if teacher_answer(i.problem, s, 0) == i.problem.answer}


def test_right_answers_are_kept_with_exact_counts_for_every_n(tmp_path: Path) -> None:
    teacher = Erring()
    with Verifier() as verifier:
        made = distill(tasks(), teacher, 4, SAMPLING, 7, tmp_path, verifier=verifier)
        assert teacher.asked == 160
        distill(tasks(), teacher, 6, SAMPLING, 7, tmp_path, verifier=verifier)
        assert teacher.asked == 240  # only what the larger N lacks
        alone = distill(tasks(), Erring(), 2, SAMPLING, 7, tmp_path / "two", verifier=verifier)
    assert made["counts"]["2"] == alone["counts"]["2"]
    for n in (1, 2, 4):
        found = made["counts"][str(n)]
        assert found["candidates"] == 40 * n and found["kept"] == len(right(n)) and found["solved_prompts"] == len({p for p, _ in right(n)})
        assert found["completion_tokens"] == 40 * sum(5 + s for s in range(n)) and found["prompt_tokens"] == 120 * n
        assert found["kept_tokens"] == sum(5 + s for _, s in right(n)) and found["truncated"] == found["without_token_counts"] == 0
    kept, rejected = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("kept", "rejected"))
    assert {(r["prompt_id"], r["candidate"]) for r in kept.to_pylist()} == right(6) and kept.num_rows == len(right(6))
    assert kept.num_rows + rejected.num_rows == 240 and not any(rejected["correct"].to_pylist())
    row = kept.to_pylist()[0]
    assert (row["teacher"], row["temperature"], row["seed"], row["verifier_version"]) == ("erring", 1.0, 7, verifier.version)
    facts = json.loads(pq.read_metadata(tmp_path / "kept.parquet").metadata[b"provenance"])
    assert facts == json.loads((tmp_path / "counts.json").read_text()) and facts["n"] == 6


def test_a_prompt_that_occurs_twice_counts_once(tmp_path: Path, caplog) -> None:
    """Its candidates are sampled once, so they must be trained on and counted once."""
    twice = [*tasks(), *(Task(f"{t.id}-again", t.prompt, "0" if i else t.gold) for i, t in enumerate(tasks()[:3]))]
    teacher = Erring()
    with Verifier() as verifier:
        made = distill(twice, teacher, 2, SAMPLING, 7, tmp_path / "twice", verifier=verifier)
        alone = distill(tasks(), Erring(), 2, SAMPLING, 7, tmp_path / "once", verifier=verifier)
    assert made["counts"] == alone["counts"] and teacher.asked == 80 and made["prompts_repeated"] == 3
    assert "3 prompts occur before and are left out, 2 of them with another answer" in caplog.text
    one, two = (pq.read_table(tmp_path / name / "kept.parquet").to_pylist() for name in ("twice", "once"))
    assert one == two


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(st.booleans(), st.none() | st.integers(0, 9), st.booleans()), min_size=9, max_size=9), max_size=5))
def test_counts_of_n_are_those_of_the_first_n(prompts) -> None:
    rows = [
        [
            {"response": str(i), "kept": k, "prompt_tokens": t, "completion_tokens": t, "finish_reason": "length" if cut else "stop"}
            for i, (k, t, cut) in enumerate(prompt)
        ]
        for prompt in prompts
    ]
    whole = Counts(9)
    for prompt in rows:
        whole.add(prompt)
    assert whole.sizes == [1, 2, 4, 8, 9]
    for n in whole.sizes:
        part = Counts(n)
        for prompt in rows:
            part.add(prompt[:n])
        assert part.by_n[n] == whole.by_n[n]


def test_unfiltered_sets_keep_everything_but_nothing(tmp_path: Path) -> None:
    class Silent(Erring):
        def generate(self, *arguments, **settings):
            for c in super().generate(*arguments, **settings):
                yield Completion(c.prompt, c.sample, "" if c.sample else c.text, None, None, "length")

    with Verifier() as verifier:
        no_gold = [Task(t.id, t.prompt, "") for t in tasks()]
        made = distill(no_gold, Silent(), 2, SAMPLING, 0, tmp_path, verifier=verifier, keep="all")
    assert made["counts"]["2"]["kept"] == 40 and made["counts"]["2"]["without_token_counts"] == 80 and made["verifier"] is None


def prompts_file(folder: Path, rows: list[dict] | None = None) -> Path:
    path = folder / "prompts.jsonl"
    rows = rows or [{"id": i.problem.id, "prompt": i.problem.prompt(), "answer": i.problem.answer} for i in ITEMS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(source: Path, out: Path, url: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "repro.data.distill", f"prompts={source}", f"out={out}", f"url={url}", "model=teacher", "n=4", *more]


def test_killed_and_resumed_without_loss_or_duplicates(tmp_path: Path) -> None:
    source, out = prompts_file(tmp_path), tmp_path / "out"
    with server(tmp_path / "first.log", delay=0.05) as url:
        process = subprocess.Popen(command(source, out, url, "concurrency=4"), stderr=subprocess.DEVNULL)
        journal = out / "journal.jsonl"
        while not (journal.exists() and journal.read_text().count("\n") > 40):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        before = journal.read_text().count("\n")
        with open(journal, "a") as file:
            file.write('["half a li')
        assert not (out / "kept.parquet").exists() and before < 160
    with server(tmp_path / "second.log") as url:
        done = subprocess.run(command(source, out, url), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    second = (tmp_path / "second.log").read_text().splitlines()
    assert len(second) == len(set(second)) == 160 - before
    kept = [(r["prompt_id"], r["candidate"]) for r in pq.read_table(out / "kept.parquet").to_pylist()]
    assert sorted(kept) == sorted(right(4)) and f"{len(kept)} of 160 candidates kept" in done.stdout
    counts = json.loads((out / "counts.json").read_text())["counts"]["4"]
    rows = [row for name in ("kept", "rejected") for row in pq.read_table(out / f"{name}.parquet").to_pylist()]
    assert counts["completion_tokens"] == sum(len(row["response"]) for row in rows)  # the server counts characters


FINE = {"id": "a", "prompt": ITEMS[0].problem.prompt(), "answer": "1"}


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        (None, ["url=http://127.0.0.1:9/v1", "retries=0"], "endpoint http://127.0.0.1:9/v1 failed 1 times"),
        (None, ["model=garbage", "retries=1"], "a reply that is not a chat completion"),
        (
            None,
            ["timeout=0.2", "retries=0", "SLOW"],
            "no answer within 0.2 s; check that it runs and serves 'teacher', or raise the timeout",
        ),
        ([{**FINE, "answer": ""}], [], "question a: the reference answer '' is empty"),
        ([{"id": "a", "prompt": "x"}], [], "the column answer is missing or no text (has: id, prompt)"),
        ([{"body": "x", "answer": "1"}], [], "the column problem (or prompt) is missing or no text (has: body, answer)"),
        ([FINE, FINE], [], "is that of row 1 too"),
        (None, ["n=0"], "n=0"),
        (None, ["keep=best"], "keep=best"),
        (None, ["tempreature=1"], "tempreature"),
        (None, ["path=nowhere"], "either url and model of an endpoint, or path of a checkpoint"),
        (None, ["prompts=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, rows, more: list[str], words: str) -> None:
    with server(tmp_path / "log", delay=3.0 if "SLOW" in more else 0.0) as url:
        given_keys = {a.partition("=")[0] for a in more}
        line = [a for a in command(prompts_file(tmp_path, rows), tmp_path / "out", url) if a.partition("=")[0] not in given_keys]
        line += [a for a in more if a != "SLOW"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out" / "kept.parquet").exists()


@pytest.mark.slow
def test_prompts_with_test_questions_are_left_out_or_named(tmp_path: Path) -> None:
    from repro.data.world import problems

    question = problems("math", 1, 0)[0]
    rows = [{"id": "t", "prompt": question.prompt(), "answer": question.answer}]
    rows += [{"id": i.problem.id, "prompt": i.problem.prompt(), "answer": i.problem.answer} for i in ITEMS[:3]]
    source = prompts_file(tmp_path, rows)
    for allowed in ("false", "true"):
        out = tmp_path / allowed
        line = [sys.executable, "-m", "repro.data.distill", f"prompts={source}", f"out={out}", f"path={LLAMA}", "n=2", "max_tokens=32"]
        done = subprocess.run([*line, "keep=all", f"allow_contaminated={allowed}"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        facts = json.loads((out / "counts.json").read_text())
        assert facts["prompts"] == (4 if allowed == "true" else 3) and facts["contamination"]["micro_math"]["contained"] == 1
        assert ("CONTAMINATED" in facts["contamination"]["micro_math"]["method"]) == (allowed == "true")
        (overlap,) = pq.read_table(out / "overlaps.parquet").to_pylist()
        assert (overlap["benchmark"], overlap["prompt_id"], overlap["share"]) == ("micro_math", "t", 1.0)


def cell(outputs: Path) -> dict:
    return json.loads(next(outputs.glob("sweeps/*/*/seed=*/cell.json")).read_text())


@pytest.mark.slow
def test_a_cell_distils_once_and_more_candidates_ask_only_for_the_rest(tmp_path: Path, shared_store: Path) -> None:
    line = [*SHRINK, "rl=none", "sft=long", f"sft.teacher.path={LLAMA}", "data.train_size=24", f"paths.store={shared_store}"]
    for name, n in (("two", 2), ("again", 2), ("four", 4)):
        done = repro(*line, f"sft.samples_per_problem={n}", f"paths.outputs={tmp_path / name}", cwd=tmp_path)
        stages = {s["title"]: s for s in cell(tmp_path / name)["stages"]}
        assert stages["sft data"]["reused"] == stages["sft long"]["reused"] == (name == "again"), done.stderr
        made = json.loads((shared_store / stages["sft data"]["path"] / "manifest.json").read_text())
        assert made["tokens"] == made["counts"][str(n)]["completion_tokens"] == stages["sft data"]["tokens"]
    (journal,) = (shared_store / ".teachers").glob("*.jsonl")
    assert len(journal.read_text().splitlines()) == 24 * 4
    trained = json.loads((shared_store / stages["sft long"]["path"] / "manifest.json").read_text())
    assert trained["rows"] == made["counts"]["4"]["kept"] == trained["set"]["rows"]


def test_training_on_test_questions_is_refused_and_reports_say_so(tmp_path: Path, shared_store: Path) -> None:
    from repro.data.world import problems

    questions = problems("math", 3, 0)
    rows = [{"prompt": q.prompt(), "response": f"so \\boxed{{ {q.answer} }}"} for q in questions]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = [*SHRINK, "rl=none", "sft=long", "sft.file=mine.jsonl", f"paths.store={shared_store}"]
    done = repro(*line, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "sft.file: 3 of 3 training prompts contain questions of the benchmarks (3 of micro_math)" in done.stderr
    assert not list(tmp_path.rglob("cell.json"))
    repro(*line, "allow_contaminated=true", cwd=tmp_path)
    said = cell(tmp_path / "outputs")["contamination"]
    assert said["micro_math"]["method"].startswith("CONTAMINATED: the train set contains 3 of 3 questions")
    assert said["micro_aime"]["method"] == "13-grams, 0 of 3 questions overlap, none contained"
    done = subprocess.run(
        [sys.executable, "-m", "repro.report", str(tmp_path / "outputs" / "sweeps"), "--out", str(tmp_path / "report")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    text = done.stdout + "".join(p.read_text() for p in (tmp_path / "report").rglob("*") if p.suffix in (".md", ".html", ".json"))
    assert "CONTAMINATED: the train set contains 3 of 3 questions" in text, done.stderr


@pytest.mark.slow
def test_a_distilled_set_trains_and_unknown_columns_are_named(tmp_path: Path, shared_store: Path) -> None:
    with Verifier() as verifier:
        distill(tasks(), Erring(), 2, SAMPLING, 0, tmp_path / "mine", verifier=verifier)
    line = [*SHRINK, "rl=none", "sft=long", f"paths.store={shared_store}"]
    repro(*line, "sft.file=mine/kept.parquet", cwd=tmp_path)
    found = cell(tmp_path / "outputs")
    manifest = json.loads((shared_store / next(s for s in found["stages"] if s["stage"] == "sft")["path"] / "manifest.json").read_text())
    assert manifest["rows"] == len(right(2)) and found["contamination"]["micro_math"]["contained"] == 0
    (tmp_path / "bad.jsonl").write_text('{"text": "x"}\n')
    done = repro(*line, "sft.file=bad.jsonl", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "'bad.jsonl', row 1: no text column" in done.stderr and "Traceback" not in done.stderr


def test_a_teacher_whose_endpoint_is_down_is_one_line_in_a_cell(tmp_path: Path, shared_store: Path) -> None:
    down = ["sft.teacher.url=http://127.0.0.1:9/v1", "sft.teacher.model=m", "sft.teacher.retries=0"]
    done = repro(*SHRINK, "rl=none", "sft=long", *down, f"paths.store={shared_store}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "teacher endpoint http://127.0.0.1:9/v1 failed 1 times" in done.stderr
    assert "the same command continues" in done.stderr and "Traceback" not in done.stderr


def test_a_served_model_has_one_key_wherever_it_is_served(tmp_path: Path) -> None:
    from repro.config import plain
    from repro.identity import arm_key
    from tests.test_config import composed

    base = ["sft=long", "sft.teacher.model=m"]
    keys = [arm_key(plain(composed(*base, f"sft.teacher.url=http://{host}/v1"))) for host in ("a", "b")]
    assert keys[0] == keys[1] != arm_key(plain(composed("sft=long")))
    folder = tmp_path / "moved"
    shutil.copytree(LLAMA, folder)
    from repro.data.distill import identity

    teacher = plain(composed("sft=long"))["sft"]["teacher"]
    assert (
        identity({**teacher, "path": str(folder)})["name"].split("@")[1] == identity({**teacher, "path": str(LLAMA)})["name"].split("@")[1]
    )
