"""Engines of the harness: stop strings, windows, seeds, vLLM, and engines that die."""

from __future__ import annotations

import json
import shutil
import sys
import types

import pyarrow.parquet as pq
import pytest

from evals import engines, harness
from evals.command import main
from evals.prompts import FORMATS, Format
from repro.config import ConfigError
from repro.models.load import device_name
from repro.models.positions import positions_of
from repro.store import RESUME
from repro.verifiers import Verifier
from tests.data.wide_heads import widen
from tests.evals.small import MODEL, SMALL, evaluate, settings


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


def test_stop_strings_cut_text_and_tokens(tokenizer):
    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False)

    stops = [tokenizer.eos_token_id]
    full = "x 3 so \\boxed{ 5 } wait recheck wait"
    found = engines.cut(tokenizer, ids(full), ("wait", "recheck"), stops)
    assert (found.text, found.finish) == (full.split("wait", maxsplit=1)[0], "stop") and found.tokens == ids(full)[
        : ids(full).index(ids("wait")[0]) + 1
    ]
    assert engines.cut(tokenizer, ids(full), (), stops) == engines.Completion(ids(full), full, "length")
    ended = engines.cut(tokenizer, [*ids("5"), tokenizer.eos_token_id], ("wait",), stops)
    assert (ended.text, ended.finish, len(ended.tokens)) == ("5", "stop", 2)
    special = engines.cut(tokenizer, [*ids("5"), *ids("<|user|>"), *ids("6 wait")], ("<|user|>", "wait"), stops)
    assert (special.text, special.finish, len(special.tokens)) == ("5", "stop", 2)
    assert engines.cut(tokenizer, [], ("wait",), stops) == engines.Completion([], "", "length")


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
    assert positions_of(tmp_path) == 1280


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
    assert asked["params"][0]["stop"] == ["\nProblem:"] and asked["params"][0]["stop_token_ids"] == sorted(
        tokenizer.convert_tokens_to_ids(["<|user|>", tokenizer.eos_token])
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
