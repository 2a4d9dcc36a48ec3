"""Every published RL and SFT script, as facts, against the cells that the experiments compose at scale=paper.

Source of the facts: the paper's tables 6 to 16 and the released scripts (github.com/eddycmu/demystify-long-cot at e90cf9b, SFT at 7cec7017),
with OpenRLHF's argparse defaults where a script is silent. Each row of ``SCRIPTS`` must be exactly one arm of its experiment, and each arm
of an experiment must be a row or a control that ``OWN`` names. Where this project departs on purpose the row says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from repro.claims.records import lookup
from tests.conftest import planned

MATH, WEB = 7500 // 512, 30_000 // 512  # rollout batches of 512 prompts in an episode, the incomplete one dropped

# Flags that all 23 released RL scripts share, and defaults that none of them sets.
SHARED = {
    "rl.prompts_per_step": 512,  # rollout_batch_size
    "rl.learning_rate": 5e-7,  # actor_learning_rate
    "rl.kl": 0.01,  # init_kl_coef; kl_target None, so it stays
    "rl.kl_in": "reward",
    "rl.kl_split": True,
    "rl.gae_lambda": 1.0,  # lambd
    "rl.temperature": 1.0,
    "rl.top_p": 1.0,
    "rl.clip": 0.2,  # eps_clip
    "rl.clip_high": None,
    "rl.value_clip": 0.2,
    "rl.max_grad_norm": 1.0,
    "rl.reward_clip": 10.0,
    "rl.critic_warmup": 0.0,  # freezing_actor_steps -1
    "rl.warmup": 0.03,
    "rl.min_learning_rate": 0.1,
    "rl.loss_aggregation": "per_sample_mean",
    "rl.whiten": True,
    "rl.mask_truncated": False,
    "rl.exceed_margin": 16,
    "rl.micro_batch_size": 1,
    "rl.name": "ppo",  # advantage_estimator gae
    "sft.name": "long",  # the start of section 4 is not published but for its scores (D-9)
    # Section 4's scripts fall to the string matcher, the paper says SymEval (D-3): here the rule verifier; verifier=legacy is the other.
    "verifier.name": "rule",
}


def run(n: int, episodes: int, epochs: int, critic: float, window: int = 14336, batches: int = MATH) -> dict[str, Any]:
    """Columns n/prompt, episodes, epochs, critic LR, gen_max_len; train_batch_size is 512 everywhere, so an episode's batch makes n updates."""
    return {
        "rl.group_size": n,
        "rl.steps": episodes * batches,
        "rl.epochs": epochs,
        "rl.minibatches": 512 * n // 512,
        "rl.critic_learning_rate": critic,
        "rl.max_completion_length": window,
    }


CLASSIC = {
    "reward.classic": {"correct_value": 1.0, "wrong_value": 0.0, "exceed": 0.0, "gamma": 1.0, "margin": 16},
    "reward.cosine": None,
    "reward.repetition": None,
}


def cosine(
    r0_correct=2.0, rL_correct=1.0, r0_wrong=-10.0, rL_wrong=0.0, gammas: tuple[float, float | None] = (1.0, 0.99)
) -> dict[str, Any]:
    """The cosine reward; exceed -10; with the dense penalty (N 40, P -0.05) unless its gamma is None."""
    shape = {"r0_correct": r0_correct, "rL_correct": rL_correct, "r0_wrong": r0_wrong, "rL_wrong": rL_wrong}
    penalty = {"ngram_size": 40, "penalty": -0.05, "where": "everywhere", "gamma": gammas[1]}
    return {
        "reward.classic": None,
        "reward.cosine": {**shape, "exceed": -10.0, "margin": 16, "gamma": gammas[0]},
        "reward.repetition": None if gammas[1] is None else penalty,
    }


PENALTY, BARE = cosine(), cosine(gammas=(1.0, None))
QWEN, LLAMA = {"model.role": "qwen_math"}, {"model.role": "llama"}
# Section 5.2: SFT on the two responses a prompt that passed the filter, 115k prompts; RL on the first 30,000 of a set (max_samples).
AGREEING = {
    "sft.file": "webinstruct_filtered.parquet",
    "sft.samples_per_problem": 2,
    "data.train_size": 115_000,
    "data.rl.train_size": 30_000,
}
JUDGE, FILTERED = {"verifier.name": "judge"}, {"data.name": "web_filtered", "data.rl.file": "webinstruct_filtered.parquet", **AGREEING}
UNFILTERED = {"data.name": "filtered_then_web", "data.rl.file": "webinstruct.jsonl.gz", **AGREEING}
PAIRS = [(1.0, 1.0), (1.0, 0.999), (1.0, 0.99), (0.999, 0.999), (0.999, 0.99), (0.99, 0.99)]

KEPT = {"sft.file": None, "sft.teacher.keep": "correct"}  # rejection sampling
ON_MATH = {"data.rl.file": "math_train_prompts.jsonl.gz"}

# (script or table, experiment) -> what it sets, beside SHARED and Llama on MATH.
SCRIPTS: dict[tuple[str, str], dict[str, Any]] = {
    ("4.1 llama_classic, table 8", "length_stability"): {**CLASSIC, **run(8, 8, 1, 4.5e-6)},
    ("4.1 qwen_classic, table 8", "length_stability"): {**QWEN, **CLASSIC, **run(8, 8, 1, 4.5e-6)},
    ("4.2 classic, table 9", "reward_design"): {**CLASSIC, **run(16, 8, 2, 9e-6)},
    ("4.2 cosine, table 9", "reward_design"): {**BARE, **run(16, 8, 2, 9e-6)},
    ("4.2 cosine + rep, table 9", "reward_design"): {**PENALTY, **run(16, 8, 2, 9e-6)},
    ("4.3 A, table 10", "cosine_hyperparameters"): {**cosine(0.0, 10.0, 0.0, 0.0), **run(4, 4, 1, 9e-6)},
    ("4.3 B, table 10", "cosine_hyperparameters"): {**cosine(6.0, 5.0), **run(4, 4, 1, 9e-6)},
    ("4.3 C, table 10", "cosine_hyperparameters"): {**cosine(10.0, 9.0), **run(4, 4, 1, 9e-6)},
    ("4.4 4k, table 11", "context_window"): {**PENALTY, **run(8, 8, 1, 9e-6, 2048)},
    ("4.4 8k, table 11", "context_window"): {**PENALTY, **run(8, 8, 1, 9e-6, 6144)},
    ("4.4 16k, table 11", "context_window"): {**PENALTY, **run(8, 8, 1, 9e-6)},
    ("4.5 cosine, table 12", "length_hacking"): {**BARE, **run(16, 8, 2, 9e-6)},
    ("4.5 cosine + rep, table 12", "length_hacking"): {**PENALTY, **run(16, 8, 2, 9e-6)},
    **{(f"4.6 {c} {p}, table 13", "discount_factors"): {**cosine(gammas=(c, p)), **run(4, 4, 1, 9e-6)} for c, p in PAIRS},
    ("5.2 judge_filtered, table 14", "noisy_rl"): {**JUDGE, **FILTERED, **PENALTY, **run(4, 1, 1, 9e-6, batches=WEB)},
    ("5.2 judge_unfiltered, table 14", "noisy_rl"): {**JUDGE, **UNFILTERED, **PENALTY, **run(4, 1, 1, 9e-6, batches=WEB)},
    ("5.2 rule_filtered, table 14", "noisy_rl"): {**FILTERED, **PENALTY, **run(4, 1, 1, 9e-6, batches=WEB)},
    ("5.2 rule_unfiltered, table 14", "noisy_rl"): {**UNFILTERED, **PENALTY, **run(4, 1, 1, 9e-6, batches=WEB)},
    # Tables without a script.
    **{
        (f"table 7, {kind} N={n}", "sft_init_for_rl"): {
            **{"sft.name": kind, "sft.samples_per_problem": n},
            **cosine(gammas=(1.0, 1.0)),  # one gamma in the table (D-5)
            **run(4, 4, 1, 9e-6),
        }
        for kind, sizes in (("long", (32, 64, 128, 192, 256)), ("short", (32, 64, 128, 256)))
        for n in sizes
    },
    # About 200k samples an arm: action-n40 has 217k; of QwQ's responses 59.4 % are right (D-10).
    ("table 1 emergent", "cot_source"): {"sft.samples_per_problem": 49, **KEPT, **cosine(gammas=(1.0, 1.0)), **run(4, 4, 1, 9e-6)},
    ("table 1 constructed", "cot_source"): {
        **{"sft.name": "constructed", "sft.file": "hub:demystify-long-cot/math-train-action-n40", "sft.samples_per_problem": 40},
        **{**cosine(gammas=(1.0, 1.0)), **run(4, 4, 1, 9e-6)},
    },
    # The scores of the first row are table 1's emergent ones. One unfiltered response a web prompt; webit231k-qwq-n1-raw is the model that had RL.
    ("table 2 MATH", "noisy_sft"): {"sft.samples_per_problem": 49, **KEPT, **cosine(gammas=(1.0, 1.0)), **run(4, 4, 1, 9e-6)},
    ("table 2 WebIT", "noisy_sft"): {
        **{"data.name": "web_then_math", "data.file": "webinstruct.jsonl.gz", "data.train_size": 231_000, "sft.samples_per_problem": 1},
        **{"sft.teacher.keep": "all", **ON_MATH, **cosine(gammas=(1.0, 1.0)), **run(4, 4, 1, 9e-6)},
    },
    ("table 2 50/50", "noisy_sft"): {
        **{"data.name": "math_web", "sft.file": "noisy_sft_mixed.parquet", **ON_MATH},
        **{**cosine(gammas=(1.0, 1.0)), **run(4, 4, 1, 9e-6)},
    },
    ("table 15 row 1", "base_rl_behaviours"): {},
    ("table 15 row 1", "length_dip"): {"rl.kl": 0.01},
    ("table 15 row 1", "base_vs_sft_rl"): {"sft.name": "none"},
    ("table 15 row 3", "base_vs_sft_rl"): {
        **{**QWEN, **cosine(gammas=(1.0, 1.0)), **run(8, 8, 1, 4.5e-6)},
        "sft.samples_per_problem": 32,
    },
    ("table 16", "reinforce_vs_ppo"): {"rl.name": "reinforce_pp", "rl.clip": 0.1, **CLASSIC, **run(8, 8, 1, 4.5e-6)},
    ("table 8, the PPO beside table 16", "reinforce_vs_ppo"): {**CLASSIC, **run(8, 8, 1, 4.5e-6)},
}
BASE = {  # table 15, row 1, and section 6.1
    **{**SHARED, **QWEN, "sft.name": "none", "rl.gae_lambda": 0.95, "rl.prompts_per_step": 1024, "data.name": "math_level3to5"},
    **{"rl.group_size": 8, "rl.epochs": 1, "rl.minibatches": 1024 * 8 // 128, "rl.steps": 20 * (8523 // 1024)},
    **{"rl.max_completion_length": 3072, "rl.critic_learning_rate": 9e-6, "data.train_size": 8523},
    **{"reward.zero_rl.correct_value": 1.0, "reward.zero_rl.wrong_value": -0.5, "reward.zero_rl.no_answer_value": -1.0},
}
for at, row in SCRIPTS.items():
    start = BASE if at[0] == "table 15 row 1" else {**SHARED, **LLAMA, "data.name": "math"}
    SCRIPTS[at] = {**start, **row}

# Arms that the paper does not have: (experiment, key, value) and why.
OWN = {
    ("cosine_hyperparameters", "reward.name", "cosine_repetition"): "the default; the paper draws A, B, C only",
    ("discount_factors", "reward.name", "discount_1_99_equal"): "a penalty that its discount does not weaken",
    ("context_window", "rl.steps", 2 * 8 * MATH): "twice the samples, of which the paper speaks without running it",
    ("length_dip", "rl.kl", 0.0): "the control without KL",
}
CONTROLS = {"spurious_reward", "verifier_noise", "critic_warmup", "loss_aggregation", "model_size", "quickstart"}  # the project's own

# Table 6 and the nine SFT scripts (qwq n32 to n256, qwen n32 to n256): (style, N).
SFT_SCRIPTS = {("long", n) for n in (32, 64, 128, 192, 256)} | {("short", n) for n in (32, 64, 128, 256)}
# Distillation, appendix E.2.
TEACHERS = {
    "long": {"path": "Qwen/QwQ-32B-Preview", "temperature": 1.0, "top_p": 0.95, "max_tokens": 8192, "keep": "correct"},
    "short": {"path": "Qwen/Qwen2.5-Math-72B-Instruct", "temperature": 0.7, "top_p": 0.95, "max_tokens": 4096, "keep": "correct"},
}
SFT = {
    "sft.batch_size": 256,
    "sft.learning_rate": 5e-6,
    "sft.epochs": 2,
    "sft.max_length": 131072,
    "sft.warmup": 0.03,
    "sft.min_learning_rate": 0.1,
    "model.path": "meta-llama/Meta-Llama-3.1-8B",
    "rl.name": "none",
}
# Section 2.5 and E.1; RL from the base is scored greedily.
EVALUATION = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 16384, "samples": 4, "samples_by": {"aime2024": 16}}
GREEDY = {"temperature": 0.0, "max_tokens": 4096, "samples": 1, "samples_by": {"aime2024": 1}}


def arms(experiment: str) -> list[dict[str, Any]]:
    """The resolved configuration of every arm at scale=paper, of one seed."""
    return [cell.config for cell in planned(experiment, "paper").cells]


def differing(config: dict[str, Any], facts: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (composed, published) where they are not the same; terms of a reward are compared as a whole."""
    return {key: (lookup(config, key), value) for key, value in facts.items() if lookup(config, key) != value}


@pytest.mark.parametrize(("script", "experiment"), SCRIPTS)
def test_a_published_script_is_one_arm(script: str, experiment: str) -> None:
    facts = SCRIPTS[script, experiment]
    found = [differing(config, facts) for config in arms(experiment)]
    assert found.count({}) == 1, f"{script}: the closest arm differs in {min(found, key=len)}"


@pytest.mark.parametrize("experiment", sorted({name for _, name in SCRIPTS}))
def test_every_arm_is_published_or_a_named_control(experiment: str) -> None:
    rows = [facts for (_, name), facts in SCRIPTS.items() if name == experiment]
    own = [(key, value) for name, key, value in OWN if name == experiment]
    for config in arms(experiment):
        published = any(not differing(config, facts) for facts in rows)
        assert published or any(lookup(config, key) == value for key, value in own), (config["sft"], config["rl"], config["reward"])


def test_every_experiment_is_in_the_table() -> None:
    from tests.test_config import EXPERIMENTS

    assert {name for _, name in SCRIPTS} | CONTROLS | {"sft_scaling"} == set(EXPERIMENTS) - {"pretraining_traces"}
    assert len([script for script, _ in SCRIPTS if script.startswith(("4.", "5."))]) == 23  # all released RL scripts


def test_sft_scripts() -> None:
    found = arms("sft_scaling")
    assert {(config["sft"]["name"], config["sft"]["samples_per_problem"]) for config in found} == SFT_SCRIPTS and len(found) == 9
    assert not [differing(config, SFT) for config in found if differing(config, SFT)]
    assert all(config["sft"]["teacher"] | TEACHERS[config["sft"]["name"]] == config["sft"]["teacher"] for config in found)


def test_the_optimizer_has_the_defaults_of_the_scripts(tmp_path) -> None:
    """OpenRLHF's argparse, of SFT and of the actor: what no script sets."""
    from repro.training import common_arguments

    for section in ("sft", "rl"):
        made = common_arguments(tmp_path, arms("length_stability")[0][section], 42, 112)
        assert (made["adam_beta1"], made["adam_beta2"], made["weight_decay"], made["max_grad_norm"]) == (0.9, 0.95, 0.0, 1.0)
        assert (made["lr_scheduler_type"], made["lr_scheduler_kwargs"]) == ("cosine_with_min_lr", {"min_lr_rate": 0.1})
        assert made["warmup_steps"] == 4  # 3 % of 112, rounded up


@pytest.mark.parametrize("experiment", sorted({name for _, name in SCRIPTS}))
def test_evaluation(experiment: str) -> None:
    greedy = experiment in ("base_rl_behaviours", "length_dip")  # base_vs_sft_rl samples all arms alike, and says so
    for config in arms(experiment):
        facts = GREEDY if greedy else EVALUATION
        assert {key: config["eval"][key] for key in facts} == facts
        assert config["eval"]["benchmarks"] == ["math500", "aime2024", "theoremqa", "mmlu_pro_1k"]
