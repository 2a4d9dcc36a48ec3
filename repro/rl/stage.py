"""The RL stage of a cell: from configuration to trainer, run, saved policy.

Every argument of TRL that changes the training signal is written out here, since its defaults move between versions. Run as part of a cell
(``python -m repro rl=ppo reward=cosine``); the trainer itself is ``repro.rl.trainer``.
"""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

from repro import checkpoints, training
from repro.budget import limit
from repro.config import LOSSES, ConfigError, adapter_of
from repro.data.teacher import messages
from repro.data.web import prompt_id, rl_data, train_items
from repro.launch import main_process
from repro.models import adapter
from repro.models.load import load_model, load_tokenizer
from repro.models.positions import longest_prompt, positions_of, refuse_longer
from repro.models.stop_tokens import stop_ids
from repro.rewards.terms import from_config
from repro.rl.budget import Budget
from repro.rl.sampler_gap import correction_arguments
from repro.servers import URL
from repro.tracking import open_tracker
from repro.trainer_arguments import FIXED_RL

VERSION = 5  # of the stage; raise it when a change here makes other checkpoints
SHOWN = {"accuracy": "acc", "length/mean": "tokens", "truncated": "trunc", "reward": "reward"}


def sizes(rl: dict[str, Any], processes: int) -> tuple[int, int, int]:
    """(completions in a forward pass of a process, forward passes an update, updates a rollout batch).

    Raises:
        ConfigError: the batch does not divide over the processes.
    """
    batch = rl["prompts_per_step"] * rl["group_size"]
    share, rest = divmod(batch, processes * rl["minibatches"])
    micro = rl["micro_batch_size"] or share
    if rest or share % micro:
        raise ConfigError(
            f"rl.prompts_per_step={rl['prompts_per_step']} x rl.group_size={rl['group_size']} completions do not divide over "
            f"{processes} processes, rl.minibatches={rl['minibatches']} and rl.micro_batch_size={rl['micro_batch_size']}"
        )
    return micro, share // micro, rl["epochs"] * rl["minibatches"]


def arguments(config: dict[str, Any], work: Path):
    """TRL's arguments for a cell."""
    from trl import GRPOConfig

    rl = config["rl"]
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro, accumulation, updates = sizes(rl, processes)
    common = training.common_arguments(work, rl, config["seed"], limit(config["budget"], rl) * updates)
    common |= {"save_steps": rl["save_steps"] * updates, "logging_steps": updates}
    vllm = rl["vllm"]
    made = GRPOConfig(
        **common,
        **FIXED_RL,
        **correction_arguments(vllm),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        # TRL refuses groups of one, which a critic does not need; the real number is set below.
        num_generations=rl["group_size"] if rl["group_size"] > 1 else micro * processes * accumulation * rl["minibatches"],
        steps_per_generation=accumulation * rl["minibatches"],
        num_iterations=rl["epochs"],
        max_completion_length=rl["max_completion_length"],
        temperature=rl["temperature"],
        top_p=rl["top_p"],
        # Not 0 makes TRL load the reference and compute its log-probabilities; where the KL acts is decided by the trainer.
        beta=rl["kl"] if rl["kl"] > 0 else float(rl["measure_kl"]),
        epsilon=rl["clip"],
        epsilon_high=rl["clip_high"],
        loss_type=LOSSES[rl["loss_aggregation"]],
        use_vllm=rl["engine"].startswith("vllm"),
        vllm_mode=rl["engine"].removeprefix("vllm_") if rl["engine"].startswith("vllm") else "colocate",
        vllm_server_base_url=os.environ.get(URL),
        vllm_gpu_memory_utilization=vllm["memory_share"],
        vllm_tensor_parallel_size=vllm["tensor_parallel"],
        vllm_max_model_length=vllm["max_length"],
        shuffle_dataset=rl["shuffle"],
        log_completions=False,
        remove_unused_columns=False,
    )
    made.num_generations = rl["group_size"]
    training.one_gpu(made)
    training.admit_fsdp()
    return made


def engine_settings(vllm: dict[str, Any]) -> None:
    """Make TRL's colocated engine eager if it is to be; TRL has no argument for it."""
    from trl.generation import vllm_generation

    if vllm["eager"] and hasattr(vllm_generation, "LLM"):
        vllm_generation.LLM = functools.partial(vllm_generation.LLM, enforce_eager=True)


def signal_of(rl: dict[str, Any]):
    """The part of the configuration that turns rewards into advantages."""
    from repro.rl.trainer import Signal

    chosen = {name: rl[name] for name in Signal.__dataclass_fields__}
    # A reference that is only measured must act nowhere: in the reward its coefficient is 0.
    return Signal(**{**chosen, "kl_in": "reward" if rl["kl"] == 0 else rl["kl_in"]})


def build(config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """Train the policy in ``start`` and save ``work/model`` and ``work/policies``. Returns facts for the manifest."""
    from datasets import Dataset

    from repro.rl.critic import CriticTrainer, adapted_critic, load_critic
    from repro.rl.scoring import Scorer
    from repro.rl.trainer import StreamTrainer
    from repro.verifiers.choose import make_verifier

    terms, verifier = from_config(config["reward"]), make_verifier(config["verifier"], config.get("judge_path"))
    rl, data = config["rl"], config["data"]
    tokenizer = load_tokenizer(start)
    tokenizer.padding_side = "left"
    source = rl_data(data)
    drawn = train_items(source)
    items = [item for _, item in drawn]
    rows = {
        "prompt": [messages(item.problem.prompt()) for item in items],
        "gold": [item.reference for item in items],
        "task": [item.task for item in items],
        "question_id": [prompt_id(split, item, source) for split, item in drawn],
        "difficulty": [str(item.problem.degree) for item in items],
    }
    positions, limit = positions_of(start), rl["max_completion_length"]
    if positions is not None:
        longest = longest_prompt(tokenizer, rows["prompt"], positions - limit)
        refuse_longer(
            start,
            longest + limit,
            f"rl.max_completion_length={limit} after a prompt of {longest}",
            f"set rl.max_completion_length to at most {positions - longest}, or leave out long prompts",
        )
    made = arguments(config, work)
    updates = rl["epochs"] * rl["minibatches"]
    begin = checkpoints.start_step(work, updates)
    budget = None if config["budget"]["kind"] == "samples" else Budget(config["budget"], work, updates)
    main, lora = main_process(), adapter_of(config, "rl")
    model = load_model(start, training=True, half=bool(lora) and lora["base_dtype"] == "bfloat16")
    stops = stop_ids(tokenizer, model.generation_config)
    if made.use_vllm:
        made.generation_kwargs = {"stop_token_ids": stops}
        engine_settings(rl["vllm"])
    # Before the trainer puts the policy's adapter into it.
    body = adapter.share(model.model) if lora and rl["baseline"] == "ppo" else None
    with open_tracker(config if main else {**config, "tracking": {"name": "none"}}, run_id, "rl") as tracker:
        trainer = StreamTrainer(
            model=model,
            peft_config=adapter.lora(lora) if lora else None,
            args=made,
            scorer=Scorer(terms, verifier, tokenizer, stops, rl["max_completion_length"], rl["exceed_margin"]),
            signal=signal_of(rl),
            critic=None,
            updates=updates,
            engine=rl["engine"],
            critic_warmup=math.ceil(rl["critic_warmup"] * rl["steps"]) if rl["baseline"] == "ppo" else 0,
            budget=budget,
            resampling_rounds=rl["dynamic_sampling"],
            warmup_share=rl["critic_warmup"] if rl["baseline"] == "ppo" else 0.0,
            lr_shares=(rl["warmup"], rl["min_learning_rate"]),
            sample_keys=str(config["seed"]),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
        )
        if rl["baseline"] == "ppo":
            settings = {
                "learning_rate": rl["critic_learning_rate"],
                "min_learning_rate": rl["min_learning_rate"],
                "value_clip": rl["value_clip"],
            }
            steps = rl["steps"] * updates
            warmup = math.ceil(rl["warmup"] * steps)
            critic = adapted_critic(body, lora, config["seed"]) if lora else load_critic(start, config["seed"])
            if made.gradient_checkpointing:  # as the trainer does it for the policy
                critic.train().backbone.gradient_checkpointing_enable({"use_reentrant": False})
            trainer.critic = CriticTrainer(
                critic,
                trainer.accelerator,
                settings,
                steps=steps,
                warmup=warmup,
                max_grad_norm=rl["max_grad_norm"],
                rate=trainer.rate if budget else None,
            )
        name = f"rl {rl['name']} {config['reward']['name']}"
        if budget:
            trainer.add_callback(budget)
        trainer.add_callback(training.KeepPolicies(trainer, tokenizer, work, 0 if budget else rl["eval_steps"], updates))
        trainer.add_callback(checkpoints.Marker())
        if main:
            trainer.add_callback(training.Metrics(work, name, tracker, SHOWN, begin, updates, lambda: trainer.samples, budget))
        training.run(trainer, work, updates, budget)
        tracker.table("rollouts", training.kept_samples(work)[-200:])
    verifier.close()
    metrics = training.finish(trainer, tokenizer, work)
    batch = rl["prompts_per_step"] * rl["group_size"]
    samples = int(sum(row.get("sampling/samples", batch) for row in metrics))
    spent = budget.facts() if budget else {"kind": "samples", "unit": "samples", "amount": samples, "spent": samples, "reproducible": True}
    parameters = adapter.sizes(trainer.accelerator.unwrap_model(trainer.model))
    if trainer.critic is not None:
        parameters["trained by the critic"] = adapter.sizes(trainer.critic.critic)["trained"]
    tokens = int(sum(row["tokens"] for row in metrics))
    return {"tokens": tokens, "steps": len(metrics), "parameters": parameters, "budget": spent}
