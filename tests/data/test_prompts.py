"""Prompts of files: names that are distinct by construction, and conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.config import ConfigError
from repro.data import sets
from repro.data.prompts import INSTRUCTION, load_problems
from repro.data.rejection import Task, distill
from repro.data.teacher import Completion, messages, user_text
from repro.data.web import prompt_id, train_items
from repro.verifiers import Verifier
from tests.rl.small import train


def write(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(text: str = "1 + 1?", **more) -> dict:
    return {"problem": text, "answer": "2", **more}


def test_a_row_without_a_name_is_called_by_its_place(tmp_path) -> None:
    file = write(tmp_path / "p.jsonl", [row(id=None), row(), row(id=""), row(id="q7"), row(id=7)])
    assert [p.id for p in load_problems(file, None)] == ["p-0", "p-1", "p-2", "q7", "7"]


@pytest.mark.parametrize("rows", [[row(id="a"), row(id="b"), row(id="a")], [row(id=1), row(), row(id="1")]])
def test_two_rows_of_one_name_are_refused(rows, tmp_path) -> None:
    file = write(tmp_path / "p.jsonl", rows)
    with pytest.raises(ConfigError, match=r"row 3: the id '.' is that of row 1 too") as error:
        load_problems(file, None)
    assert "\n" not in str(error.value)


names = st.lists(st.sampled_from([None, "", "0", "1", "p-0", 2]), min_size=2, max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(files=st.lists(names, min_size=1, max_size=3))
def test_the_names_of_a_mixture_are_distinct_and_stay(files: list[list], tmp_path_factory) -> None:
    """Whatever the files number their rows by, and whatever other files are added."""
    folder = tmp_path_factory.mktemp("mixture")
    made = {}
    for number, ids in enumerate(files):
        given_names = [str(i) for i in ids if i not in (None, "")]
        auto = [f"p-{index}" for index, i in enumerate(ids) if i in (None, "")]
        if len({*given_names, *auto}) < len(ids):
            return  # refused, as above
        # Files of one name in different folders.
        path = write(folder / str(number) / "p.jsonl", [row(f"{number} {i}?", id=x) for i, x in enumerate(ids)])
        made[path] = ids

    def names_of(paths: list[str]) -> set[str]:
        # Of a source the mixture reads a problem more than it takes.
        size = len(paths) * (min(map(len, made.values())) - 1)
        data = {
            "split": "mixture", "mixture": {p: 1 / len(paths) for p in paths}, "train_size": size,
            "seed": 0, "file": None, "rl": None,
        }  # fmt: skip
        drawn = train_items(data)
        ids = [prompt_id(split, item, data) for split, item in drawn]
        assert len(set(ids)) == len(ids) == size
        return set(ids)

    whole = names_of(list(made))
    assert names_of(list(made)[:1]) <= whole


TALK = [
    {"role": "system", "content": "so"},
    {"role": "user", "content": "5 6"},
    {"role": "assistant", "content": "wait"},
    {"role": "user", "content": "7"},
]


def test_a_conversation_is_asked_as_it_stands(tmp_path) -> None:
    rows = [
        {"prompt": TALK, "answer": "2"},
        {"messages": TALK[1:2], "answer": "2"},
        row(),
        {"prompt": "x?", "answer": "2"},
    ]
    first, second, third, fourth = load_problems(write(tmp_path / "p.jsonl", rows), 4)
    assert first.prompt() == TALK and first.text == "5 6\n7"
    assert second.prompt() == TALK[1:2]
    assert third.prompt() == f"1 + 1?\n{INSTRUCTION}" and fourth.prompt() == "x?"
    assert user_text(messages("a")) == "a"


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        ([], "must end with a turn of the user"),
        (TALK[:1], "must end with a turn of the user"),
        (TALK[:3], "must end with a turn of the user"),
        ([{"role": "user", "content": " "}], "must end with a turn of the user"),
        ([{"role": "teacher", "content": "x"}], "message 1 must have content .* role out of system, user, assistant"),
        ([*TALK[:1], {"role": "user"}], "message 2 must have"),
        (["x"], "message 1 must have"),
        ([{"role": "user", "content": 5}], "message 1 must have"),
    ],
)
def test_a_conversation_that_cannot_be_asked_is_one_line(talk, words: str, tmp_path) -> None:
    file = write(tmp_path / "p.jsonl", [row(), {"prompt": talk, "answer": "2"}])
    with pytest.raises(ConfigError, match=rf"row 2: .*{words}") as error:
        load_problems(file, None)
    assert "\n" not in str(error.value)


def test_rl_samples_after_the_whole_conversation(start, tmp_path, monkeypatch) -> None:
    from repro.rl.trainer import StreamTrainer

    seen, sample = [], StreamTrainer._generate_single_turn

    def recorded(self, prompt_ids, *arguments):
        seen.extend(self._tokenizer.decode(ids) for ids in prompt_ids)
        return sample(self, prompt_ids, *arguments)

    monkeypatch.setattr(StreamTrainer, "_generate_single_turn", recorded)
    file = write(tmp_path / "p.jsonl", [{"prompt": TALK, "answer": "2"}, row("5 6"), row("6"), row("7")])
    train(start, tmp_path / "work", "rl=grpo", "data.split=file", f"data.file={file}", "data.train_size=4", f"model.path={start}")  # fmt: skip
    assert any("wait" in text and text.index("5 6") < text.index("wait") for text in seen)


class Parrot:
    """A teacher that gives the right answer to whatever it is asked."""

    name = "parrot"

    def __init__(self) -> None:
        self.asked = []

    def generate(self, prompts, n=1, *, samples=None, **sampling):
        self.asked = list(prompts)
        for number in range(len(prompts)):
            for sample in range(n):
                yield Completion(number, sample, "so \\boxed{2}", 3, 4, "stop")


def test_a_distilled_conversation_is_imitated_as_one(tmp_path) -> None:
    teacher = Parrot()
    tasks = [Task("a", TALK, "2"), Task("b", "1 + 1?", "2"), Task("c", TALK, "2")]
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 9}
    with Verifier() as verifier:
        distill(tasks, teacher, 1, sampling, 0, tmp_path / "out", verifier=verifier)
    assert teacher.asked == [TALK, "1 + 1?"]  # a prompt that occurs twice is asked once
    kept = pq.read_table(tmp_path / "out" / "kept.parquet").to_pylist()
    assert [r["prompt"] for r in kept] == ["5 6\n7", "1 + 1?"]
    assert [pair.prompt for pair in sets.pairs(str(tmp_path / "out" / "kept.parquet"))] == [TALK, "1 + 1?"]
