"""The harness and its command on the shipped micro checkpoint: records, resuming after SIGKILL, prompts, engines, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evals import harness, metrics
from evals.benchmarks import BENCHMARKS
from evals.command import KEYS, SCORE_KEYS, main, read
from evals.prompts import FORMATS, QWEN_MATH, render
from evals.sampling import SAMPLING
from repro.config import plain
from repro.models.load import encode_chat, load_tokenizer
from repro.store import RESUME
from tests.evals.small import MODEL, ROOT, SMALL, evaluate, settings
from tests.test_config import composed


def test_command_end_to_end(tmp_path, capsys, generated):
    out = tmp_path / "out"
    line = [*SMALL, "benchmark=micro_math,micro_gpqa", f"out={out}"]
    assert main(line) == 0
    shown = capsys.readouterr().out
    records = pq.read_table(out / "samples.parquet")
    assert records.schema.equals(harness.schema()) and records.num_rows == len(generated) == 24
    assert records["sample_index"].to_pylist()[:4] == [0, 1, 0, 1]
    for name in ("micro_math", "micro_gpqa"):
        rows = records.filter(pc.equal(records["benchmark"], name))
        assert rows["question_id"].to_pylist()[::2] == [q.id for q in BENCHMARKS[name].questions(6)]
        average, tokens = metrics.avg_at_k(rows), metrics.lengths(rows)
        cells = next(text for text in shown.splitlines() if text.startswith(name)).split()
        assert cells[1:6] == [
            "6",
            "2",
            *(f"{100 * v:.2f}" for v in (average.mean,)),
            f"[{100 * average.low:.2f},",
            f"{100 * average.high:.2f}]",
        ]
        expected = [metrics.pass_at_k(rows, 2).mean, metrics.maj_at_k(rows, 2).mean]
        assert cells[6:8] == [f"{100 * v:.2f}" for v in expected] and cells[8] == f"{tokens['mean']:.1f}"
        assert cells[9:] == [f"{100 * v:.2f}" for v in (tokens["truncated"], metrics.no_answer_share(rows))]
    said = json.loads((out / "evaluation.json").read_text())
    assert said["prompts"]["micro_math"] == {"style": "plain", "stop": []} and said["samples"] == 24
    assert said["chat_template"] == load_tokenizer(MODEL).chat_template and len(said["chat_template_hash"]) == 16
    assert said["settings"]["temperature"] == 0.7 and said["settings"]["seed"] == 0
    assert not (out / RESUME).exists()
    assert main(line) == 0 and capsys.readouterr().out == shown  # finished: printed again, nothing generated
    assert len(generated) == 24
    assert main([*line, "seed=1"]) == 2
    assert (
        capsys.readouterr().err
        == f"evals: out={out} has an evaluation with another seed: choose another folder, or remove it to start again\n"
    )


def test_killed_and_run_again_gives_the_same_records(tmp_path, capsys, generated):
    line = [f"model={MODEL}", "benchmark=micro_math,micro_gpqa", "questions=30", "samples=4", "max_tokens=40", "batch_size=3"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", "evals.harness", *line, f"out={killed}"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while len(parts := list((killed / RESUME).glob("*.parquet"))) < 6:
        assert process.poll() is None and time.monotonic() < limit, process.stderr.read() if process.poll() is not None else "too slow"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    parts = sorted((killed / RESUME).glob("*.parquet"))
    assert 6 <= len(parts) < 80 and not (killed / "samples.parquet").exists()
    done = sum(pq.read_metadata(part).num_rows for part in parts)
    assert main([*line, f"out={killed}"]) == 0
    assert len(generated) == len(set(generated)) == 240 - done  # none twice
    first = capsys.readouterr().out
    assert main([*line, f"out={whole}"]) == 0
    assert first.splitlines()[:3] == capsys.readouterr().out.splitlines()[:3]
    assert pq.read_table(killed / "samples.parquet").equals(pq.read_table(whole / "samples.parquet"))


def test_samples_do_not_depend_on_what_else_is_asked(tmp_path):
    few, _ = evaluate(tmp_path / "few", questions=3, samples=1, batch_size=2)
    more, _ = evaluate(tmp_path / "more", questions=6, samples=3, batch_size=256)
    chosen = more.filter(pc.equal(more["sample_index"], 0)).slice(0, 3)
    assert few["response"].to_pylist() == chosen["response"].to_pylist()


def test_samples_by_benchmark(tmp_path):
    """k of one benchmark changes nothing of the others, nor the samples that a larger k adds to."""
    both = {"benchmarks": ["micro_math", "micro_aime"], "questions": 2, "max_tokens": 8}
    few = evaluate(tmp_path / "few", **both, samples=1)[0].to_pylist()
    more = evaluate(tmp_path / "more", **both, samples=1, samples_by={"micro_aime": 3})[0].to_pylist()
    assert [row for row in more if row["sample_index"] == 0] == few
    assert [row["benchmark"] for row in more if row["sample_index"] > 0] == ["micro_aime"] * 4


def test_several_decoding_seeds_are_an_evaluation_each(tmp_path, capsys):
    line = [f"model={MODEL}", "benchmark=micro_math", "questions=4", "samples=1", "max_tokens=8", f"out={tmp_path / 'out'}"]
    assert main([*line, "seed=0,3"]) == 0
    said = capsys.readouterr().out
    assert "over decoding seeds 0, 3, sd" in said
    one, two = (pq.read_table(tmp_path / "out" / f"seed={seed}" / "samples.parquet") for seed in (0, 3))
    assert one["question_id"] == two["question_id"] and one["response"] != two["response"]
    assert main([*line, "seed=1,1"]) == 2 and "name every number once" in capsys.readouterr().err


def test_sampling_settings_by_name():
    line = ["model=m", "benchmark=math500,aime2024"]
    names = ("temperature", "top_p", "max_tokens", "samples", "samples_by")

    def chosen(*more):
        settings = read([*line, *more])
        assert "sampling" not in settings  # what it stands for is recorded, not its name
        return tuple(settings[name] for name in names)

    assert chosen() == chosen("sampling=paper") == (0.7, 0.95, 16_384, 4, {"aime2024": 16})
    assert chosen("sampling=paper_base") == (0.0, 1.0, 4_096, 1, {})
    assert chosen("sampling=open_r1", "max_tokens=100") == (0.6, 0.95, 100, 4, {"aime2024": 64})
    assert chosen("samples=2") == (0.7, 0.95, 16_384, 2, {})  # said, it is that of every benchmark
    assert chosen("temperature=0") == (0.0, 0.95, 16_384, 1, {})
    assert chosen("sampling=paper_base", "temperature=1", "samples=3") == (1.0, 1.0, 4_096, 3, {})


@pytest.mark.parametrize(("experiment", "sampling"), [("reward_design", "paper"), ("base_rl_behaviours", "paper_base")])
def test_sweeps_at_paper_scale_sample_as_the_named_settings_say(experiment, sampling):
    settings, named = plain(composed(f"+experiment={experiment}", "scale=paper"))["eval"], SAMPLING[sampling]
    asked = [name for name in settings["benchmarks"] if name.startswith("aime")]
    assert {key: settings[key] for key in ("temperature", "max_tokens")} == {key: named[key] for key in ("temperature", "max_tokens")}
    if settings["temperature"] > 0:
        assert settings["top_p"] == named["top_p"] and asked
        assert {harness.samples_of(settings, name) for name in asked} == {16} and settings["samples"] == named["samples"]
    else:
        assert settings["samples"] == 1


def test_progress_counts_the_questions_there_are(tmp_path, monkeypatch):
    bars = []

    class Bar(harness.Progress):
        def __init__(self, total, *rest, **named):
            super().__init__(total, *rest, **named)
            bars.append(self)

    monkeypatch.setattr(harness, "Progress", Bar)
    rows = [{"problem": f"find x : D1 C2 B1 A0 ={i}", "answer": str(i)} for i in range(4)]
    (tmp_path / "aime2024.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records, _ = evaluate(tmp_path / "w", benchmarks=["aime2024", "micro_math"], questions=5, data=str(tmp_path))
    assert records.num_rows == (4 + 5) * 2 == bars[0].total == bars[0].n


def test_published_benchmark_from_a_file(tmp_path, monkeypatch, capsys, tokenizer):
    rows = [
        {"problem": f"find x : D1 C2 B1 A0 ={i}", "answer": f"${i}$", "unique_id": f"q{i}", "level": 1 + i % 5, "subject": "Algebra"}
        for i in range(7)
    ]
    (tmp_path / "math500_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path))
    hashes = {}
    for style in (None, "llama"):
        out = tmp_path / str(style)
        line = [f"model={MODEL}", "benchmark=math500", "temperature=0", "max_tokens=40", f"out={out}"]
        assert main([*line, f"prompt={style}"] if style else line) == 0
        records = pq.read_table(out / "samples.parquet")
        assert (
            records.num_rows == 7 and set(records["subject"].to_pylist()) == {"Algebra"} and records["level"].to_pylist()[:2] == ["1", "2"]
        )
        assert set(records["prompt_style"].to_pylist()) == {style or "qwen_math"}
        assert "pass@" not in capsys.readouterr().out
        hashes[style] = records["prompt_hash"].to_pylist()
    settled = settings(benchmarks=["math500"], questions=None)["eval"]
    planned = harness.plan(settled, "math500", tokenizer)
    assert [s.facts["prompt_hash"] for s in planned.samples][::2] == hashes[None] and hashes[None] != hashes["llama"]
    assert planned.samples[0].prompt == encode_chat(tokenizer, f"{rows[0]['problem']}\n{QWEN_MATH}")
    assert planned.style == "qwen_math" and render("qwen_math", "p").endswith(QWEN_MATH)
    micro = harness.plan({**settled, "prompt": "llama", "questions": 2}, "micro_math", tokenizer)  # never has an instruction
    assert micro.samples[0].prompt == encode_chat(tokenizer, BENCHMARKS["micro_math"].questions(1)[0].prompt)


def test_shuffled_options_are_recorded(tmp_path):
    row = {"Question": "find", "Correct Answer": "5", **{f"Incorrect Answer {i}": str(i) for i in (1, 2, 3)}, "Record ID": "r"}
    (tmp_path / "gpqa_diamond.jsonl").write_text(json.dumps(row) + "\n")
    records, facts = evaluate(tmp_path / "w", benchmarks=["gpqa_diamond"], data=str(tmp_path))
    order, gold = records["order"][0].as_py(), records["gold"][0].as_py()
    assert sorted(order.split(",")) == list("0123") and order.split(",").index("0") == "ABCD".index(gold)
    assert facts["prompts"]["gpqa_diamond"]["style"] == "simple_evals"


@pytest.mark.timeout(120)  # a grader that is not linear in the response would need hours
def test_a_response_of_10_megabytes(tmp_path, capsys):
    recorded = tmp_path / "r.jsonl"
    long = "x = 1, so \\frac{1}{2} and { " * 350_000
    recorded.write_text(json.dumps({"id": "q", "gold": "5", "response": f"{long}\\boxed{{5}}"}) + "\n")
    assert main([f"score={recorded}", "task=math"]) == 0
    assert "100.00%" in capsys.readouterr().out


def test_help_names_every_key(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {key} " in shown or f"\n  {key}," in shown for key in KEYS)
    assert all(name in shown for name in [*SCORE_KEYS, *SAMPLING, *BENCHMARKS, *FORMATS, "score=FILE", "REPRO_DATA_DIR"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "model=... is missing"),
        ("model=MODEL", "benchmark=... is missing"),
        ("model=MODEL benchmark", "cannot read 'benchmark': write key=value"),
        ("model=MODEL benchmrk=micro_math", "unknown key benchmrk, did you mean benchmark? (keys: model, "),
        ("model=MODEL model=MODEL benchmark=micro_math", "model is given twice"),
        ("model= benchmark=micro_math", "model is empty"),
        ("model=MODEL benchmark=math50", "benchmark=math50 does not exist (did you mean math500?): choose one of micro_math, "),
        ("model=MODEL benchmark=micro_math,micro_math", "micro_math stands there twice"),
        ("model=MODEL benchmark=micro_math samples=two", "samples=two: a whole number of at least 1 is needed"),
        ("model=MODEL benchmark=micro_math questions=0", "questions=0: a whole number of at least 1 is needed"),
        ("model=MODEL benchmark=micro_math samples=1000000000", "samples=1000000000: at most 100000 is possible"),
        ("model=MODEL benchmark=micro_math samples=-4", "samples=-4: a whole number of at least 1 is needed"),
        ("model=MODEL benchmark=micro_math samples=1e3", "samples=1e3: a whole number of at least 1 is needed"),
        (
            "model=MODEL benchmark=micro_math samples=100000 questions=101 max_tokens=9 out=TMP/m",
            "more than 10,000,000 samples; choose fewer",
        ),
        ("model=MODEL benchmark=micro_math sampling=papr", "sampling=papr does not exist (did you mean paper?)"),
        ("model=MODEL benchmark=micro_math temperature=-0.5", "temperature=-0.5: a number from 0 to 100 is needed"),
        ("model=MODEL benchmark=micro_math temperature=nan", "temperature=nan: a number from 0 to 100 is needed"),
        ("model=MODEL benchmark=micro_math top_p=0", "top_p=0: a number from 1e-06 to 1 is needed"),
        ("model=MODEL benchmark=micro_math temperature=0 samples=4", "samples=4 with temperature=0: greedy samples are all the same"),
        ("model=MODEL benchmark=micro_math prompt=qwen", "prompt=qwen does not exist"),
        ("model=MODEL benchmark=micro_math engine=sglang", "engine=sglang does not exist"),
        ("model=MODEL benchmark=micro_math,aime2024", "questions=... is missing: micro_math has no end"),
        ("model=MODEL benchmark=aime2024 data=TMP", "aime2024: no file aime2024.jsonl (or "),
        ("model=MODEL benchmark=aime2024 data=TMP/no", "TMP/no does not exist"),
        ("model=MODEL benchmark=micro_math out=/proc/out", "out=/proc/out cannot be written"),
        ("model=MODEL benchmark=micro_math out=TMP/file/out", "out=TMP/file/out cannot be written"),
        ("model=TMP/no benchmark=micro_math", "it is no folder"),
        ("model=TMP/bare benchmark=micro_math out=TMP/o max_tokens=9", "model='TMP/bare' has no tokenizer that can be loaded"),
        ("model=TMP/empty benchmark=micro_math out=TMP/p", "has no tokenizer that can be loaded"),
        ("model=MODEL benchmark=micro_math out=TMP/other", "out=TMP/other has samples, but evaluation.json cannot be read"),
        ("score=TMP/no.jsonl benchmark=micro_math", "TMP/no.jsonl does not exist"),
        ("score=TMP/no.jsonl benchmark=nothing", "benchmark=nothing does not exist"),
        ("score=TMP/no.jsonl model=MODEL", "unknown key model"),
        ("score=TMP/no.jsonl task=maths", "task=maths does not exist (did you mean math?)"),
        ("score=TMP/no.jsonl fallback=yes", "fallback=yes does not exist"),
        ("score=TMP/no.jsonl task=math out=TMP/records", "out=TMP/records: name a file that ends in .parquet"),
        ("score=TMP/no.jsonl task=math out=TMP/no/r.parquet", "out=TMP/no/r.parquet cannot be written"),
        ("score=TMP/file task=math", "TMP/file: unknown kind of file"),
    ],
)
def test_refusals_are_one_line(tmp_path, capsys, line, expected):
    (tmp_path / "file").write_text("")
    for name in ("bare", "empty", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "samples.parquet").write_text("")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(MODEL / name, tmp_path / "bare" / name)
    arguments = line.replace("MODEL", str(MODEL)).replace("TMP", str(tmp_path)).split()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 1 and expected.replace("TMP", str(tmp_path)) in captured.err
