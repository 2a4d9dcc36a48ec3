"""The other side of each divergence from the paper is one override away; prompts come from a file."""

from __future__ import annotations

import gzip
import json

import pytest

from repro.config import ConfigError
from repro.data.prompts import INSTRUCTION, load_problems
from repro.validate import validate
from tests.test_config import composed


def test_every_named_divergence_of_rl_is_a_switch() -> None:
    """The other side of D-2, D-4, D-6, D-8, D-14, D-15 and D-18 is one override away."""
    validate(
        composed(
            "scale=paper", "rl=ppo", "reward=cosine_repetition", "rl.exceed_margin=0", "verifier=legacy_prompt",
            "reward.repetition.gamma=0.999", "rl.kl_split=false", "rl.loss_aggregation=token_mean",
        )
    )  # fmt: skip
    validate(composed("scale=paper", "reward=classic", "reward.classic.wrong_value=-1", "reward.classic.exceed=-1"))
    validate(composed("scale=paper", "verifier=judge", "verifier.judge.path=some/model", "verifier.judge.parser=legacy"))


def test_prompts_from_a_file(tmp_path) -> None:
    path = tmp_path / "prompts.jsonl.gz"
    rows = [{"problem": f"What is {i}+1?", "answer": str(i + 1), "level": "1"} for i in range(3)]
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    found = load_problems(str(path), 2)
    assert (
        [p.answer for p in found] == ["1", "2"] and found[0].prompt() == f"What is 0+1?\n{INSTRUCTION}" and len({p.id for p in found}) == 2
    )
    with pytest.raises(ConfigError, match="has only 3 problems"):
        load_problems(str(path), 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"problem": "x"}\n', "column answer is missing"),
        ('{"problem": "x", "answer": ""}\n', "is empty"),
        ("garbage\n", "data.file="),
        (None, "no file"),
    ],
)
def test_bad_prompt_files(text: str | None, words: str, tmp_path) -> None:
    path = tmp_path / "prompts.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_problems(str(path), 1)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_chains_cannot_be_made_from_a_prompt_file() -> None:
    with pytest.raises(ConfigError, match=r"model\.path"):
        validate(composed("data.split=file", "data.file=x.jsonl"))
