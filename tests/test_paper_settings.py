"""scale=paper holds the published settings of PPO: tables 6 and 8, the released scripts and their defaults."""

from __future__ import annotations

import gzip
import json

import pytest

from repro.config import ConfigError, validate
from repro.data.prompts import INSTRUCTION, load_problems
from repro.rl.stage import sizes
from tests.test_config import composed

PUBLISHED = {
    "rl.learning_rate": 5e-7,
    "rl.critic_learning_rate": 4.5e-6,
    "rl.kl": 0.01,
    "rl.kl_in": "reward",
    "rl.kl_split": True,
    "rl.gae_lambda": 1.0,
    "rl.clip": 0.2,
    "rl.clip_high": None,
    "rl.value_clip": 0.2,
    "rl.critic_warmup": 0.0,
    "rl.max_grad_norm": 1.0,
    "rl.reward_clip": 10.0,
    "rl.whiten": True,
    "rl.loss_aggregation": "per_sample_mean",
    "rl.mask_truncated": False,
    "rl.temperature": 1.0,
    "rl.top_p": 1.0,
    "rl.epochs": 1,
    "rl.max_completion_length": 14336,
    "rl.exceed_margin": 16,
    "rl.ngram_size": 40,
    "rl.warmup": 0.03,
    "rl.min_learning_rate": 0.1,
    "reward.cosine.r0_correct": 2.0,
    "reward.cosine.rL_correct": 1.0,
    "reward.cosine.r0_wrong": -10.0,
    "reward.cosine.rL_wrong": 0.0,
    "reward.cosine.exceed": -10.0,
    "reward.cosine.gamma": 1.0,
    "reward.repetition.penalty": -0.05,
    "reward.repetition.gamma": 0.99,
    "reward.repetition.ngram_size": 40,
    "sft.batch_size": 256,
    "sft.learning_rate": 5e-6,
    "sft.epochs": 2,
    "sft.max_length": 131072,
    "eval.temperature": 0.7,
    "eval.top_p": 0.95,
    "eval.max_tokens": 16384,
}


def test_settings_are_the_published_ones() -> None:
    from omegaconf import OmegaConf

    config = composed("scale=paper", "rl=ppo", "reward=cosine_repetition", "sft=long")
    validate(config)
    for key, value in PUBLISHED.items():
        assert OmegaConf.select(config, key) == value, key
    batch = config.rl.prompts_per_step * config.rl.group_size
    assert batch // config.rl.minibatches == 512  # train_batch_size
    assert config.rl.steps == 8 * (7500 // config.rl.prompts_per_step)  # 8 episodes, incomplete batches dropped
    assert sizes(config.rl, 64) == (1, 8, 8)


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
