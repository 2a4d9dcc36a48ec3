"""The harness and its command on the shipped micro checkpoint: records, resuming after SIGKILL, prompts, engines, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evals import engines, harness, metrics
from evals.benchmarks import BENCHMARKS
from evals.command import KEYS, SCORE_KEYS, main, read
from evals.prompts import FORMATS, QWEN_MATH, Format, render
from evals.sampling import SAMPLING
from repro.config import ConfigError, plain
from repro.models.load import device_name, encode_chat, load_tokenizer
from repro.store import RESUME
from repro.verifiers import Verifier
from tests.data.wide_heads import widen
from tests.test_config import composed

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "repro" / "models" / "base" / "llama" / "model"
SMALL = [f"model={MODEL}", "questions=6", "samples=2", "max_tokens=40"]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(MODEL)


@pytest.fixture
def generated(monkeypatch):
    """Keys of all samples that were really generated."""
    keys, complete = [], engines.TransformersEngine.complete

    def counted(self, prompts, names, **settings):
        keys.extend(names)
        return complete(self, prompts, names, **settings)

    monkeypatch.setattr(engines.TransformersEngine, "complete", counted)
    return keys


def settings(**changed):
    made = {"benchmarks": ["micro_math"], "questions": 6, "samples": 2, "temperature": 0.7, "top_p": 0.95, "max_tokens": 40}
    return {"eval": {**made, "batch_size": 5, "seed": 0, **changed}}


def evaluate(work, **changed):
    work.mkdir(exist_ok=True)
    facts = harness.evaluate(settings(**changed), Verifier(), MODEL, work, "test")
    return pq.read_table(work / "samples.parquet"), facts


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


def test_an_engine_that_dies_and_parts_that_do_not_fit(tmp_path, monkeypatch, generated):
    """A part is used only if it is readable and of the same questions and prompts."""
    write = harness._write
    monkeypatch.setattr(harness, "_write", lambda table, path: write(table, path) if "00002" not in path.name else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(tmp_path / "a")
    monkeypatch.setattr(harness, "_write", write)
    first, second = sorted((tmp_path / "a" / RESUME).glob("*.parquet"))
    second.write_bytes(first.read_bytes()[:100])
    generated.clear()
    records, facts = evaluate(tmp_path / "a")
    assert len(generated) == 12 - 5 and facts["samples"] == 12
    assert records.equals(evaluate(tmp_path / "b")[0])
    shutil.copy(first, second)  # readable, but of other samples
    generated.clear()
    assert evaluate(tmp_path / "a")[0].equals(records) and len(generated) == 5


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


def test_an_engine_that_dies_is_one_line_and_the_same_line_goes_on(tmp_path, monkeypatch, capsys, generated):
    line = [*SMALL, "benchmark=micro_math", "batch_size=5", f"out={tmp_path}"]
    complete = engines.TransformersEngine.complete

    def dies(self, prompts, names, **settings):
        if len(generated) >= 5:
            raise RuntimeError("CUDA error: an illegal memory access\nmore lines")
        return complete(self, prompts, names, **settings)

    monkeypatch.setattr(engines.TransformersEngine, "complete", dies)
    assert main(line) == 1
    captured = capsys.readouterr()
    assert (
        not captured.out
        and captured.err.count("\n") == 1
        and "RuntimeError: CUDA error: an illegal memory access); finished" in captured.err
    )
    assert "Traceback" in (tmp_path / "error.log").read_text() and not (tmp_path / "samples.parquet").exists()
    monkeypatch.setattr(engines.TransformersEngine, "complete", complete)
    assert main(line) == 0 and len(generated) == len(set(generated)) == 12
    assert not (tmp_path / "error.log").exists()


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


def test_stop_strings_cut_text_and_tokens(tokenizer):
    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False)

    full = "x 3 so \\boxed{ 5 } wait recheck wait"
    found = engines.cut(tokenizer, ids(full), ("wait", "recheck"))
    assert (found.text, found.finish) == (full.split("wait", maxsplit=1)[0], "stop") and found.tokens == ids(full)[
        : ids(full).index(ids("wait")[0]) + 1
    ]
    assert engines.cut(tokenizer, ids(full), ()) == engines.Completion(ids(full), full, "length")
    ended = engines.cut(tokenizer, [*ids("5"), tokenizer.eos_token_id], ("wait",))
    assert (ended.text, ended.finish, len(ended.tokens)) == ("5", "stop", 2)
    special = engines.cut(tokenizer, [*ids("5"), *ids("<|user|>"), *ids("6 wait")], ("<|user|>", "wait"))
    assert (special.text, special.finish, len(special.tokens)) == ("5", "stop", 2)
    assert engines.cut(tokenizer, [], ("wait",)) == engines.Completion([], "", "length")


def test_stop_strings_in_the_records(tmp_path, monkeypatch):
    before, _ = evaluate(tmp_path / "a")
    monkeypatch.setitem(FORMATS, "plain", Format(FORMATS["plain"].text, ("\\boxed{",)))
    after, facts = evaluate(tmp_path / "b")
    assert facts["prompts"]["micro_math"]["stop"] == ["\\boxed{"]
    for old, new in zip(before["response"].to_pylist(), after.to_pylist(), strict=True):
        assert new["response"] == old.split("\\boxed{", maxsplit=1)[0]
        if "\\boxed{" in old:
            assert new["finish_reason"] == "stop"


def test_context_window(tmp_path, capsys, generated):
    assert main([*SMALL[:3], "max_tokens=315", "benchmark=micro_math", f"out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "has 320 tokens" in said and "max_tokens=315, together 326" in said and "at most 309" in said
    assert not generated
    assert main([*SMALL[:3], "max_tokens=309", "benchmark=micro_math", f"out={tmp_path}"]) == 0  # the mended line, the same folder
    config = json.loads((MODEL / "config.json").read_text())
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 320, "rope_theta": 10000.0}
    (tmp_path / "config.json").write_text(json.dumps({**config, "rope_parameters": stretched}))
    assert harness.context_window(tmp_path) == 1280


def test_vllm_gets_a_seed_a_sample_and_the_stop_strings(tmp_path, monkeypatch, tokenizer):
    """Against a stand-in with vLLM's interface; the real one needs a GPU."""
    asked = {}

    class LLM:
        def __init__(self, **given):
            asked["model"] = given

        def generate(self, prompts, params, use_tqdm):
            asked["prompts"], asked["params"] = prompts, params
            outputs = [([7, tokenizer.eos_token_id], "stop"), ([7, 8], "length")]
            return [types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=t, finish_reason=f)]) for t, f in outputs]

    fake = types.SimpleNamespace(LLM=LLM, SamplingParams=lambda **given: given)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine = engines.make("vllm", MODEL, tokenizer, 51)
    assert asked["model"]["max_model_len"] == 51 and asked["model"]["generation_config"] == "vllm"
    assert asked["model"]["dtype"] == ("bfloat16" if device_name() == "cuda" else "float32")  # that of the other engine
    found = engine.complete([[1, 2], [3]], ["a", "b"], max_tokens=9, temperature=0.7, top_p=0.9, stop=("<|user|>", "\nProblem:"))
    assert [f.finish for f in found] == ["stop", "length"] and [f.tokens for f in found] == [[7, tokenizer.eos_token_id], [7, 8]]
    assert asked["prompts"] == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    assert [p["seed"] for p in asked["params"]] == [engines.number("a"), engines.number("b")] and engines.number("a") != engines.number("b")
    assert asked["params"][0]["stop"] == ["\nProblem:"] and asked["params"][0]["stop_token_ids"] == tokenizer.convert_tokens_to_ids(
        ["<|user|>"]
    )
    monkeypatch.setitem(sys.modules, "vllm", None)  # makes the import fail
    with pytest.raises(ConfigError, match=r"engine=vllm: vLLM cannot be imported .* pip install 'vllm"):
        engines.make("vllm", MODEL, tokenizer, 51)


@pytest.mark.timeout(900)  # a first start compiles
def test_the_real_vllm_answers_as_transformers(tmp_path):
    """Greedy, the same records: texts, tokens, finish reasons, verdicts. Where vLLM is installed."""
    pytest.importorskip("vllm", reason="vllm is not installed")
    model = tmp_path / "wide"
    widen(MODEL, model)
    made = {}
    for engine in ("transformers", "vllm"):
        (work := tmp_path / engine).mkdir()
        asked = settings(questions=24, engine=engine, batch_size=16, benchmarks=["micro_math", "micro_gpqa"], temperature=0.0, samples=1)
        harness.evaluate(asked, Verifier(), model, work, engine)
        made[engine] = pq.read_table(work / "samples.parquet")
    assert made["vllm"].equals(made["transformers"])


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
