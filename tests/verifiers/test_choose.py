"""Verifier choices of the configuration, and the data the micro judge is trained on."""

from __future__ import annotations

import random

import pytest

from repro.config import ConfigError, plain
from repro.data.judge import LABELS_SHOWN, MICRO_TEMPLATE, WORDS, example
from repro.data.world import problems
from repro.models.tokenizer import vocabulary
from repro.validate import validate
from repro.verifiers import Verifier
from repro.verifiers.choose import make_verifier, needs_micro_judge, wanted
from repro.verifiers.judge import judge_prompt, parse_fixed
from tests.conftest import ROOT
from tests.test_config import composed

CHOICES = sorted(p.stem for p in (ROOT / "conf" / "verifier").glob("*.yaml"))


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_validates_and_is_made(name: str) -> None:
    own = ["verifier.path=tests.test_parts.same"] if name == "custom" else []
    config = composed(f"verifier={name}", *own)
    validate(config)
    settings = plain(config)["verifier"]
    if needs_micro_judge(settings):
        return  # its checkpoint is trained by the cell: tests/test_cell.py
    if settings["judge"] and settings["judge"]["path"]:
        return  # a hub model: no network here; the same code as the micro judge
    with_all = {"prompts": ["p"], "question_ids": ["q"], "samples": [0], "difficulties": ["3"]}
    verifier = make_verifier(settings)
    more = {key: value for key, value in with_all.items() if key in wanted(verifier)}
    (verdict,) = verifier.verify_batch(["4"], ["so \\boxed{ 4 }"], task="math", truncated=[False], **more)
    assert isinstance(verdict.correct, bool) and verdict.version
    verifier.close()


def test_what_each_verifier_wants() -> None:
    def of(*overrides: str) -> set[str]:
        return wanted(make_verifier(plain(composed(*overrides))["verifier"]))

    assert of() == set() and of("verifier=legacy") >= {"prompts"}
    assert of("verifier=random") >= {"question_ids", "samples"}
    assert of("verifier=noisy") == {"question_ids", "samples", "difficulties"}


def test_noise_is_as_dialled_and_by_difficulty() -> None:
    overrides = ["verifier=noisy", "verifier.noise.false_positive=0", "verifier.noise.false_negative=0"]
    config = composed(*overrides, "+verifier.noise.by_difficulty.4=[1.0,1.0]")
    validate(config)
    verifier = make_verifier(plain(config)["verifier"])
    rows = {"question_ids": ["a", "b"], "samples": [0, 0], "difficulties": ["3", "4"]}
    verdicts = verifier.verify_batch(["4", "4"], ["\\boxed{4}", "\\boxed{4}"], **rows)
    assert [v.correct for v in verdicts] == [True, False]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["verifier.kind=oracle"], "verifier.kind='oracle'"),
        (["verifier.tolerance=-1"], "verifier.tolerance"),
        (["verifier=noisy", "verifier.noise.false_positive=1.5"], "verifier.noise.false_positive=1.5"),
        (["verifier=noisy", "+verifier.noise.by_difficulty.4=[2.0,0.0]"], "verifier.noise.by_difficulty.4"),
        (["verifier=judge", "verifier.judge.url=http://x/v1"], "verifier.judge.model"),
        (["verifier=judge", "verifier.judge.parser=loose"], "verifier.judge.parser='loose'"),
        (["verifier=judge", "verifier.judge.timeout=0"], "verifier.judge.timeout=0"),
        (["verifier=judge", "verifier.judge.url=http://x/v1", "verifier.judge.path=y", "verifier.judge.model=z"], "not both"),
    ],
)
def test_bad_choices_name_the_key(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(composed(*overrides))
    assert key in str(caught.value)


def test_judge_examples_say_what_the_rule_verifier_says() -> None:
    """A third of each label; the label is the rule verifier's verdict on what the judge is shown; every word is known to the judge."""
    rule, counts = Verifier(), dict.fromkeys(LABELS_SHOWN, 0)
    known = {*vocabulary(), *WORDS}
    for number, problem in enumerate(problems("train", 300)):
        prompt, completion = example(problem, random.Random(number))
        label = parse_fixed(completion)
        counts[label] += 1
        reference, response = prompt.removeprefix("reference ").split(" response ")
        verdict = rule.verify(reference, response)
        assert verdict.correct == (label == "correct") and (label != "not_found" or "boxed" not in response)
        assert set(f"{prompt} {completion}".split()) <= known
        assert prompt == judge_prompt(reference, response, template=MICRO_TEMPLATE, separator=" ") and len(response.split()) <= 20
    assert all(70 <= count <= 130 for count in counts.values()), counts
