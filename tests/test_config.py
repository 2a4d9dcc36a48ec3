"""Configuration: what composes, and that bad input is one line, exit code 2 and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from repro.config import ConfigError, register
from repro.validate import validate
from tests.conftest import ROOT, repro

EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))
SCALES = sorted(p.stem for p in (ROOT / "conf" / "scale").glob("*.yaml"))


def composed(*overrides: str):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_at_every_scale(experiment: str, scale: str) -> None:
    config = composed(f"+experiment={experiment}", f"scale={scale}")
    validate(config)
    assert config.experiment_name == experiment and config.scale == scale


def test_choices_reach_the_cell() -> None:
    config = composed("model=micro_qwen_math", "sft=short", "reward=cosine", "rl.steps=7", "reward.cosine.r0_correct=10")
    validate(config)
    assert (config.model.micro.architecture, config.sft.style, config.rl.steps) == ("qwen2", "short", 7)
    assert config.reward.cosine.r0_correct == 10 and config.reward.classic is None


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["rl.group_size=1"], "rl.group_size=1"),
        (["rl=rloo", "rl.group_size=1"], "rl.group_size=1"),
        (["rl.group_size=0"], "rl.group_size=0"),
        (["rl=ppo", "rl.critic_learning_rate=0"], "rl.critic_learning_rate=0"),
        (["rl=ppo", "rl.critic_warmup=10"], "rl.critic_warmup=10"),
        (["rl=ppo", "rl.gae_lambda=0.95", "reward=cosine_repetition"], "rl.gae_lambda=0.95"),
        (["rl=ppo", "rl.gae_lambda=1.5"], "gae_lambda"),
        (["rl.gae_lambda=0.9"], "rl.gae_lambda=0.9"),
        (["reward=cosine_repetition", "reward.repetition.gamma=0"], "reward.repetition"),
        (["reward=cosine_repetition", "reward.repetition.gamma=1.01"], "reward.repetition"),
        (["reward=cosine_repetition", "reward.repetition.where=nowhere"], "where='nowhere'"),
        (["rl.minibatches=7"], "rl.minibatches=7"),
        (["peft.rank=8"], "peft.rank=8"),  # of peft=none
        (["peft.name=dora"], "peft.name='dora'"),
        (["peft=lora", "peft.rank=0"], "peft.rank=0"),
        (["peft=lora", "peft.rank=null"], "peft.rank=None"),
        (["peft=lora", "peft.alpha=-1"], "peft.alpha=-1"),
        (["peft=lora", "peft.dropout=1"], "peft.dropout=1"),
        (["peft=lora", "peft.base_dtype=int8"], "peft.base_dtype='int8'"),
        (["peft=lora", "peft.stages=[]"], "peft.stages=[]"),
        (["peft=lora", "peft.stages=[rl,eval]"], "peft.stages="),
        (["peft=lora", "peft.target_modules=q_proj"], "peft.target_modules='q_proj'"),
        (["peft=lora", "peft.target_modules=[]"], "peft.target_modules=[]"),
        (["peft=lora", "peft.target_modules=[q_proj,c_attn]"], "no linear layer 'c_attn'"),
        (["peft=lora", "peft.target_modules=[lm_head]"], "no linear layer 'lm_head'"),
        (["peft=lora", "rl=none"], "sft=none and rl=none train nothing"),
        (["peft=lora", "peft.stages=[sft]"], "sft=none trains nothing"),
        (["peft=lora", "traces=micro_web", "rl=none"], "sft=none and rl=none train nothing"),
        (["peft=lora", "launch=fsdp", "launch.processes=2"], "launch=fsdp spreads the weights"),
        (["rl.micro_batch_size=7"], "rl.micro_batch_size=7"),
        (["rl.epochs=0"], "rl.epochs=0"),
        (["rl.kl=-1"], "rl.kl=-1"),
        (["rl.kl_in=nowhere"], "rl.kl_in='nowhere'"),
        (["rl.engine=magic"], "rl.engine='magic'"),
        (["rl.loss_aggregation=sum"], "rl.loss_aggregation='sum'"),
        (["rl.reward_clip=-1"], "rl.reward_clip=-1"),
        (["rl.clip_high=nan"], "rl.clip_high=nan"),
        (["rl=rloo", "rl.scale_rewards=true", "rl.baseline=ppo"], "rl.scale_rewards=True"),
        (["launch=ddp", "launch.processes=3"], "launch.processes=3"),
        (["launch=fsdp", "launch.processes=2", "rl.minibatches=128"], "launch.processes=2"),
        (["sft=long", "launch=ddp", "launch.processes=5"], "sft.batch_size=64"),
        (["launch.processes=0"], "launch.processes=0"),
        (["rl.prompts_per_step=5000"], "rl.prompts_per_step=5000"),
        (["tracking.name=foo"], "tracking.name='foo'"),
        (["rl.learning_rate=-1"], "rl.learning_rate=-1"),
        (["rl.learning_rate=nan"], "rl.learning_rate=nan"),
        (["rl.top_p=0"], "rl.top_p=0"),
        (["rl.max_completion_length=4096"], "rl.max_completion_length=4096"),
        (["rl.baseline=foo"], "rl.baseline='foo'"),
        (["reward=cosine", "reward.cosine.r0_wrong=1"], "reward.cosine"),
        (["reward.classic.gamma=0"], "reward.classic"),
        (["reward.classic=null"], "reward"),
        (["eval.temperature=0"], "eval.samples"),
        (["eval.temperature=0", "eval.samples=1", "+eval.samples_by.micro_aime=4"], "eval.samples_by.micro_aime=4"),
        (["+eval.samples_by.micro_aim=4"], "eval.samples_by='micro_aim'"),
        (["+eval.samples_by.micro_aime=0"], "eval.samples_by.micro_aime=0"),
        (["eval.prompt=polite"], "eval.prompt='polite'"),
        (["eval.engine=steam"], "eval.engine='steam'"),
        (["eval.benchmarks=[math501]"], "eval.benchmarks='math501'"),
        (["eval.benchmarks=[]"], "eval.benchmarks"),
        (["model.path=./no/such/model"], "model.path='./no/such/model'"),
        (["model.micro.heads=5"], "model.micro.heads=5"),
        (["sft=long", "sft.style=purple"], "sft.style='purple'"),
        (["tracking.mode=sometimes"], "tracking.mode='sometimes'"),
        (["seed=-1"], "seed=-1"),
        (["seed=4294967296"], "seed=4294967296"),
        (["eval.seed=-5"], "eval.seed=-5"),
        (["model.micro.seed=99999999999"], "model.micro.seed"),
        (["eval.benchmarks=[micro_math,micro_math]"], "eval.benchmarks"),
        (["sft=long", "sft.warmup=nan"], "sft.warmup=nan"),
        (["sft=long", "sft.warmup=5"], "sft.warmup=5"),
        (["sft=long", "sft.min_learning_rate=-1"], "sft.min_learning_rate=-1"),
        (["model.path=.", "eval.max_tokens=-1"], "eval.max_tokens=-1"),
        (["threads=100000"], "threads=100000"),
        (["threads=0"], "threads=0"),
        (["verifier.kind=foo"], "verifier.kind='foo'"),
        (["model.name=a/b"], "model.name='a/b'"),
        (["reward.name=../x"], "reward.name='../x'"),
        (["experiment_name=a b"], "experiment_name='a b'"),
        (["tracking.project=a/b"], "tracking.project='a/b'"),
        (["data.train_size=0"], "data.train_size=0"),
        (["rl.critic_learning_rate=nan"], "rl.critic_learning_rate=nan"),  # of ppo only, but no key of a stage can hold it
        (["model.micro.mixture_steps=-1"], "model.micro.mixture_steps=-1"),
        (["rl.steps=100000000000000000000"], "rl.steps=100000000000000000000"),
        (["eval.temperature=1e-40"], "eval.temperature=1e-40"),
        (["reward.classic.correct_value=1e38"], "reward.classic.correct_value=1e+38"),
        (["reward.classic.margin=160"], "reward.classic.margin=160"),
        (["verifier.noise.seed=-1", "verifier=noisy"], "verifier.noise.seed=-1"),
        (["data.file=mine.jsonl"], "data.file='mine.jsonl'"),
        (["sft.file=mine.jsonl"], "sft.file='mine.jsonl'"),
        (["traces.corpus=texts"], "traces.corpus='texts'"),
        (["paths.outputs="], "paths.outputs=''"),
        (["paths.outputs='~/out'"], "paths.outputs='~/out'"),
        (['model.revision="a\nb"'], "model.revision="),
        (["rl.steps=0", "sft.epochs=-1"], "sft.epochs=-1"),  # of a stage that is off
        (["+new=1"], "unknown key new"),
        (["~rl"], "has no value"),
    ],
)
def test_impossible_values_name_key_and_remedy(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(composed(*overrides))
    assert key in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+experiment=quickstrat"], ["experiment=quickstrat does not exist", "did you mean quickstart?"]),
        (["experiment=quickstart"], ["write +experiment=quickstart"]),
        (["+experiment="], ["names no experiment", "quickstart"]),
        (["-m", "+experiment=quickstart,reward_design"], ["one experiment at a time"]),
        (["--nope"], ["no option --nope"]),
        (["rl.steps=1,2"], ["rl.steps=1,2", "add -m"]),
        (["reward=cosin"], ["reward=cosin does not exist", "did you mean cosine?"]),
        (["rl.stepz=3"], ["rl.stepz", "steps"]),
        (["+rl.stepz=3"], ["rl.stepz", "steps"]),
        (["stepz=3"], ["stepz"]),
        (["rl.steps=many"], ["rl.steps", "many", "Integer"]),
        (["model.path=./no/such/model"], ["model.path", "no/such/model"]),
        (["rl.group_size=1"], ["rl.group_size=1", "at least 2"]),
        (["rl=null"], ["cannot be null", "rl=none"]),
        (["reward.cosine.r0_correct=3"], ["reward.cosine.r0_correct", "is off", "reward=cosine"]),
        (["model=micro_gpt"], ["model=micro_gpt does not exist"]),
        (["model=micro/gpt"], ["model=micro/gpt does not exist"]),
        (["model=micro/llama"], ["write model=micro_llama"]),
        (["-m", "model=micro/llama_small,micro/llama"], ["write model=micro_llama_small,micro_llama"]),
        (["data=${scale}/web"], ["write data=${scale}_web"]),
        (["recipe=paper/table8"], ["write recipe=paper_table8"]),
        (["rl.steps="], ["rl.steps"]),
        (["rl.steps=[1"], ["rl.steps"]),
        (["paths.outputs=/dev/null/x"], ["/dev/null", "paths.outputs"]),
        (["paths.outputs=/proc/x"], ["/proc/x", "paths.outputs"]),
        (["-m", "paths.outputs=/proc/x"], ["/proc/x", "paths.outputs"]),
        (["hydra.run.dir=/proc/x"], ["hydra.run.dir='/proc/x'"]),
        (["-m", "+new=1", "hydra/launcher=local"], ["unknown key new"]),
        (["paths.wandb=/proc/x"], ["/proc/x", "paths.wandb"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    done = repro(*arguments, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip()
    assert "\n" not in line and line.startswith("repro: "), line
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("manifest.json")) and not list(tmp_path.rglob("cell.json"))
    assert not list(tmp_path.rglob("repro.log")) and not list(tmp_path.rglob(".sweep-*"))


def test_a_path_labels_the_model_and_a_quoted_home_is_understood(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "my run" / "checkpoint 12"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    config = composed("model.path='~/my run/checkpoint 12'")
    validate(config)
    assert config.model.name == "checkpoint-12"
    validate(composed("model.path=" + 300 * "x"))  # no name of a file, but no reason to fail here
    assert composed().model.name == "llama" and composed("model.path=x", "model.name=mine").model.name == "mine"


def test_help_lists_groups_experiments_and_how_to_run(tmp_path: Path) -> None:
    text = repro("--help", cwd=tmp_path).stdout
    for word in (*EXPERIMENTS, "reward:", "cosine", "python -m repro +experiment=quickstart"):
        assert word in text
    assert not list(tmp_path.iterdir())


def test_cfg_job_prints_the_cell_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = repro("+experiment=quickstart", "--cfg", "job", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert OmegaConf.create(done.stdout).rl.baseline == "grpo"
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "transformers", "trl", "datasets", "wandb", "scipy", "sympy"}


def test_info_works(tmp_path: Path) -> None:
    assert "quickstart" in repro("+experiment=quickstart", "--info", "defaults", cwd=tmp_path).stdout


def test_every_key_has_a_comment_or_a_typed_field() -> None:
    """A configuration file says what it is in its first line."""
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert path.read_text().startswith("#"), f"{path} does not open with a comment"


@pytest.mark.parametrize("override", ["recipe=typo", "recipe=paper_tabel8", "recipe=paper_table8,paper_oops", "+arm=typo"])
def test_an_optional_group_with_a_slip_is_not_passed_over(override: str, tmp_path) -> None:
    done = repro("-m", override, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "does not exist" in done.stderr and len(done.stderr.splitlines()) == 1
    assert ("paper_table8" in done.stderr) == override.startswith("recipe") and not list(tmp_path.iterdir())


def test_recipes_and_arms_that_files_name_exist_at_some_scale() -> None:
    """A recipe may be missing at a scale, whose own sizes then hold, but not at all of them."""
    import re

    from repro import arguments

    for path in (ROOT / "conf").rglob("*.yaml"):
        for name in re.findall(r"override /recipe: (\S+)", path.read_text()):
            arguments.check([f"recipe={name}"])
    arms = {path.stem for path in (ROOT / "conf" / "arm").glob("*.yaml")}
    used = re.findall(r"\+arm: (\S+)", "".join(path.read_text() for path in (ROOT / "conf" / "experiment").glob("*.yaml")))
    assert {arm for line in used for arm in line.split(",")} <= arms
