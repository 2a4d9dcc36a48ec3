"""A checkpoint with two EOS ids: whatever samples or scores stops at both, and agrees on which."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from transformers import GenerationConfig

from evals import engines
from repro.models.generate import generate
from repro.models.load import load_model, load_tokenizer
from repro.models.stop_tokens import declared, stop_ids, stop_ids_of, without_stop
from repro.rl.scoring import Scorer
from tests.rl.small import make_start, train


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A checkpoint whose generation config names a second EOS, as that of a chat model does."""
    folder = make_start(tmp_path_factory.mktemp("two"))
    tokenizer = load_tokenizer(folder)
    second = tokenizer.convert_tokens_to_ids("wait")
    GenerationConfig(eos_token_id=[tokenizer.eos_token_id, second], pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    return folder


def second_of(folder: Path) -> int:
    return load_tokenizer(folder).convert_tokens_to_ids("wait")


def test_the_ids_are_those_of_all_three() -> None:
    assert declared(SimpleNamespace(eos_token_id=3), SimpleNamespace(eos_token_id=[4, 3])) == [3, 4]
    assert declared(SimpleNamespace(eos_token_id=None), SimpleNamespace()) == []
    assert stop_ids(SimpleNamespace(eos_token_id=7), SimpleNamespace(eos_token_id=[3, 7])) == [7, 3]
    assert without_stop([5, 3], [3]) == [5] and without_stop([3, 5], [3]) == [3, 5]
    assert without_stop([], [3]) == []


@pytest.mark.parametrize("where", ["generation_config.json", "config.json"])
def test_a_second_id_in_either_file_is_seen(where: str, two, tmp_path) -> None:
    folder = make_start(tmp_path / "model")
    wanted = stop_ids_of(two, load_tokenizer(two))
    facts = json.loads((folder / where).read_text())
    (folder / where).write_text(json.dumps(facts | {"eos_token_id": wanted[::-1]}))
    assert set(stop_ids_of(folder, load_tokenizer(folder))) == set(wanted)
    loaded = load_model(folder)
    assert set(declared(loaded.generation_config)) == set(wanted)
    # Nothing else of a checkpoint's generation config is kept.
    assert loaded.generation_config.to_diff_dict().keys() <= {
        "eos_token_id", "pad_token_id", "bos_token_id", "transformers_version"
    }  # fmt: skip


def complete(engine, folder: Path) -> list[engines.Completion]:
    prompts = [[5, 6, 7], [8, 9], [10], [11, 12]] * 8
    keys = [str(i) for i in range(len(prompts))]
    return engine.complete(prompts, keys, max_tokens=40, temperature=1.0, top_p=1.0)


@pytest.mark.parametrize("native", [True, False], ids=["native", "transformers"])
def test_evaluation_stops_at_both(native: bool, two, monkeypatch) -> None:
    if not native:
        monkeypatch.setattr("repro.models.sampler.supported", lambda model: False)
    tokenizer, second = load_tokenizer(two), second_of(two)
    found = complete(engines.TransformersEngine(two, tokenizer), two)
    ends = {completion.tokens[-1] for completion in found if completion.finish == "stop"}
    assert ends == {tokenizer.eos_token_id, second}
    for completion in found:
        stops = [t in (tokenizer.eos_token_id, second) for t in completion.tokens]
        assert not any(stops[:-1]) and stops[-1] == (completion.finish == "stop")
        assert stops[-1] or len(completion.tokens) == 40
        assert "wait" not in completion.text  # it ended the completion and is no part of it


def test_vllm_is_told_of_both(two, monkeypatch) -> None:
    told = []

    class LLM:
        def __init__(self, **settings) -> None:
            assert settings["generation_config"] == "vllm"

        def generate(self, prompts, params, use_tqdm):
            told.extend(params)
            outputs = [SimpleNamespace(token_ids=[5, second_of(two)], finish_reason="stop")]
            return [SimpleNamespace(outputs=outputs) for _ in prompts]

    stand_in = SimpleNamespace(LLM=LLM, SamplingParams=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    tokenizer = load_tokenizer(two)
    found = complete(engines.VLLMEngine(two, tokenizer, 64), two)
    assert all(set(settings["stop_token_ids"]) == {tokenizer.eos_token_id, second_of(two)} for settings in told)
    assert {(c.text, c.finish) for c in found} == {(tokenizer.decode([5]), "stop")}


@pytest.mark.parametrize("engine", ["native", "transformers"])
def test_rollouts_stop_at_both_and_agree_with_the_engine(engine: str, two, tmp_path, monkeypatch) -> None:
    last, call = [], Scorer.__call__

    def recorded(self, completion_ids, **columns):
        last.append([ids[-1] for ids in completion_ids])
        return call(self, completion_ids, **columns)

    monkeypatch.setattr(Scorer, "__call__", recorded)
    settings = ["rl=grpo", f"rl.engine={engine}", "rl.steps=3", "rl.group_size=8"]
    rows = train(two, tmp_path / "work", *settings)
    assert all(0 < row["truncated"] < 1 for row in rows)
    tokenizer = load_tokenizer(two)
    stops = {tokenizer.eos_token_id, second_of(two)}
    assert {token for ids in last for token in ids} > stops
    for row, ids in zip(rows, last, strict=True):
        assert row["truncated"] == pytest.approx(sum(i not in stops for i in ids) / len(ids))
        # TRL counts for itself, and a sampled PAD as an end.
        ends = {*stops, tokenizer.pad_token_id}
        counted = sum(i not in ends for i in ids) / len(ids)
        assert row["completions/clipped_ratio"] == pytest.approx(counted)
    rollouts = pq.read_table(tmp_path / "work" / "rollouts.parquet").to_pylist()
    assert all("wait" not in row["response"] for row in rollouts)
    # What is saved stops at both too.
    assert set(stop_ids_of(tmp_path / "work" / "model", load_tokenizer(two))) == set(stop_ids_of(two, load_tokenizer(two)))


def test_the_judge_and_other_callers_stop_at_both(two) -> None:
    model, tokenizer = load_model(two), load_tokenizer(two)
    ends = SimpleNamespace(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    keys = [str(i) for i in range(64)]
    out = generate(model, ends, [[5, 6]] * 64, max_tokens=40, temperature=1.0, top_p=1.0, keys=keys)
    assert {ids[-1] for ids in out} >= {tokenizer.eos_token_id, second_of(two)}
    assert all(second_of(two) not in ids[:-1] for ids in out)
