"""The lm-eval tasks: all of them load, score as the verifier does, and agree with our own generation on a micro checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.benchmarks import BENCHMARKS
from evals.prompts import FORMATS, QWEN_MATH, render
from repro.verifiers import Verifier
from tests.data.wide_heads import widen

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "evals" / "tasks"


def manager(**metadata):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)


def evaluate(model, tasks, metadata=None, **arguments):
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model=model, tasks=tasks, task_manager=manager(**(metadata or {})), bootstrap_iters=0, log_samples=True, **arguments
    )


def callable_model(function):
    """lm-eval model around a function prompt -> response."""
    from lm_eval.api.model import LM

    class Callable(LM):
        def generate_until(self, requests, disable_tqdm=False):
            return [function(request.args[0]) for request in requests]

        loglikelihood = loglikelihood_rolling = None

    return Callable()


def test_formats():
    assert render("plain", "p") == "p"
    assert render("qwen_math", "p") == f"p\n{QWEN_MATH}"
    assert "LETTER is one of ABCDEFGHIJ. Think" in render("simple_evals", "p", "letter", 10)
    assert '"Answer: $ANSWER"' in render("simple_evals", "p")
    assert "the final answer is: $\\boxed{ANSWER}$. I hope it is correct" in render("llama", "p")
    verify = Verifier().verify  # the verifier understands what the formats ask for
    assert verify("5", "Therefore, the final answer is: $\\boxed{5}$. I hope it is correct").correct
    assert verify("C", "Therefore, the final answer is: $\\boxed{C}$. I hope it is correct", task="letter").correct
    assert verify("C", "so\nAnswer: C", task="letter").correct
    with pytest.raises(ValueError, match="prompt format 'x' does not exist; choose one of plain"):
        render("x", "p")
    assert all(isinstance(f.stop, tuple) for f in FORMATS.values())


def test_every_benchmark_has_a_task_of_its_version():
    import yaml

    for name, benchmark in BENCHMARKS.items():
        text = (TASKS / f"repro_{name}.yaml").read_text()
        task = yaml.safe_load(text)
        assert task["task"] == f"repro_{name}" and task["dataset_kwargs"] == {"benchmark": name}
        assert task["metadata"]["version"] == benchmark.version
    assert {f"repro_{name}" for name in BENCHMARKS} == set(manager().all_subtasks)


def test_agrees_with_a_direct_computation(tmp_path):
    """A model that is right, wrong or silent in turn, over a file and two micro benchmarks, in two prompt formats."""
    rows = [{"problem": f"Half of {i}?", "answer": f"\\frac{{{i}}}{{2}}", "unique_id": f"q{i}"} for i in range(1, 20)]
    (tmp_path / "math500_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = [
        "so \\boxed{0.5}",
        "so \\boxed{3}",
        "so \\boxed{ 4 }",
        "Answer: (b)",
        "I wonder",
        "<think> \\boxed{1}",
        "\\boxed{\\frac{9}{2}}",
    ]

    def respond(prompt: str) -> str:
        return outputs[sum(prompt.encode()) % len(outputs)]

    names = ["math500", "micro_math", "micro_gpqa"]
    for style in ("llama", "plain"):
        results = evaluate(callable_model(respond), [f"repro_{n}" for n in names], {"prompt": style, "data_root": str(tmp_path)})
        for name in names:
            questions = BENCHMARKS[name].questions(100, tmp_path)
            responses = [respond(render(style, q.prompt, q.task, q.options)) for q in questions]
            verdicts = Verifier().verify_batch([q.gold for q in questions], responses, task=[q.task for q in questions])
            found = results["results"][f"repro_{name}"]
            assert found["acc,none"] == pytest.approx(sum(v.correct for v in verdicts) / len(verdicts), abs=1e-12)
            assert found["no_answer,none"] == pytest.approx(sum(v.extracted is None for v in verdicts) / len(verdicts), abs=1e-12)
            assert {s["doc"]["id"] for s in results["samples"][f"repro_{name}"]} == {q.id for q in questions}
            assert 0 < found["no_answer,none"] < 1 and found["acc,none"] > 0
        assert results["versions"]["repro_math500"] == 1
        assert results["configs"]["repro_math500"]["metadata"]["prompt"] == style


def test_repeats_are_averaged_and_limits_fit_the_model(tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("functions", TASKS / "functions.py")
    functions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(functions)
    document = {"gold": "5", "task": "math"}
    assert functions.score(document, [["\\boxed{5}", "\\boxed{5}", "\\boxed{6}", "I do not know"]]) == {"acc": 0.5, "no_answer": 0.25}
    assert functions.score(document, ["\\boxed{5}"]) == {"acc": 1.0, "no_answer": 0.0}
    config = {"task": "t", "dataset_kwargs": {"benchmark": "micro_math"}, "custom_dataset": functions.load, "test_split": "test"}
    config |= {"doc_to_text": "prompt", "doc_to_target": "gold", "process_results": functions.score}
    config |= {"metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]}
    for context, limit in ((None, 16_384), (32_768, 16_384), (4_096, 3_072), (320, 160)):
        (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
        config |= {"generation_kwargs": {"until": [], "max_gen_toks": 16_384}, "metadata": {"pretrained": str(tmp_path), "prompt": "llama"}}
        task = functions.VerifiedTask(config)
        assert task.config.generation_kwargs["max_gen_toks"] == limit
        assert task.config.generation_kwargs["until"] == list(FORMATS["llama"].stop)


def test_missing_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"aime2024: no file aime2024\.jsonl .* get it from the hub"):
        evaluate(callable_model(str), ["repro_aime2024"], {"data_root": str(tmp_path)})


@pytest.mark.parametrize("backend", ["hf", "vllm"])
def test_agrees_with_the_harness_on_greedy_responses(backend: str, tmp_path: Path) -> None:
    """The shipped micro checkpoint through lm-eval's backends and through our harness: the same text, the same verdicts, the same score.

    vLLM pins other versions than this project; on a CPU it runs as tests/data/test_endpoint.py says, with this project's packages behind its own.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from evals import harness

    if backend == "vllm":
        pytest.importorskip("vllm", reason="vllm is not installed")
    path, count, tokens = ROOT / "repro" / "models" / "base" / "llama" / "model", 24, 48
    names, limits = ["micro_math", "micro_mmlu_pro"], {}
    if backend == "vllm":
        widen(path, tmp_path / "wide")
        path, limits = tmp_path / "wide", {"max_model_len": 320, "enforce_eager": True}
    results = evaluate(
        backend,
        [f"repro_{name}" for name in names],
        model_args={"pretrained": str(path), "dtype": "float32", **limits},
        metadata={"pretrained": str(path)},
        **({"device": "cpu"} if backend == "hf" else {}),
        batch_size=count,
        limit=count,
        apply_chat_template=True,
        gen_kwargs=f"max_gen_toks={tokens}",
    )
    greedy = {"temperature": 0.0, "top_p": 1.0, "samples": 1, "seed": 0, "max_tokens": tokens}
    settings = {"benchmarks": names, "questions": count, "batch_size": 8, "engine": "transformers", **greedy}
    with Verifier() as verifier:
        harness.evaluate({"eval": settings}, verifier, path, tmp_path, "greedy")
    records = pq.read_table(tmp_path / "samples.parquet")
    for name in names:
        ours = {row["question_id"]: row for row in records.filter(pc.equal(records["benchmark"], name)).to_pylist()}
        theirs = {s["doc"]["id"]: s for s in results["samples"][f"repro_{name}"]}
        assert set(ours) == set(theirs) and len(ours) == count
        for question, row in ours.items():
            assert theirs[question]["resps"][0][0].strip() == row["response"].strip()
            assert theirs[question]["acc"] == float(row["correct"])
        assert len({row["correct"] for row in ours.values()}) == 2  # neither all right nor all wrong
        assert results["results"][f"repro_{name}"]["acc,none"] == pytest.approx(sum(r["correct"] for r in ours.values()) / count, abs=1e-12)


def test_a_second_eos_ends_its_responses_as_ours(tmp_path: Path) -> None:
    """A generation config with two EOS ids, the second a word that searches are full of."""
    import shutil

    import pyarrow.parquet as pq

    from evals import harness
    from repro.models.load import load_tokenizer

    path = tmp_path / "model"
    shutil.copytree(ROOT / "repro" / "models" / "base" / "llama" / "model", path)
    tokenizer = load_tokenizer(path)
    second = tokenizer.convert_tokens_to_ids("so")
    config = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [tokenizer.eos_token_id, second]}))
    results = evaluate(
        "hf",
        ["repro_micro_math"],
        model_args={"pretrained": str(path), "dtype": "float32"},
        metadata={"pretrained": str(path)},
        device="cpu",
        batch_size=16,
        limit=16,
        apply_chat_template=True,
        gen_kwargs="max_gen_toks=48",
    )
    greedy = {"temperature": 0.0, "top_p": 1.0, "samples": 1, "seed": 0, "max_tokens": 48}
    settings = {"benchmarks": ["micro_math"], "questions": 16, "batch_size": 8, **greedy}
    with Verifier() as verifier:
        harness.evaluate({"eval": settings}, verifier, path, tmp_path, "greedy")
    ours = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    theirs = {s["doc"]["id"]: s["resps"][0][0] for s in results["samples"]["repro_micro_math"]}
    cut = 0
    for row in ours:
        text = theirs[row["question_id"]].strip()
        cut += text.endswith("so")  # an ordinary word, so lm-eval leaves it in the text
        assert text.removesuffix("so").strip() == row["response"].strip()
        assert "so" not in row["response"].split()
    assert cut > 0
