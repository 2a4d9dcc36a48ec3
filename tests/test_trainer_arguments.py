"""Every argument of the pinned trainers is a key, written out with its reason, or without effect."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import trl

from repro import sft
from repro.config import plain
from repro.rl import stage
from repro.trainer_arguments import FIXED, FIXED_RL, FIXED_SFT
from repro.validate import validate
from tests.conftest import SHRINK
from tests.test_config import composed

# Argument -> an override of ours that changes it.
KEYS_BOTH = {
    "learning_rate": "{section}.learning_rate=0.5",
    "lr_scheduler_kwargs": "{section}.min_learning_rate=0.5",
    "warmup_steps": "{section}.warmup=1",
    "seed": "seed=7",
    "data_seed": "seed=7",
    "save_steps": "{section}.save_steps=3",
    "output_dir": None,  # the stage's work folder
}
KEYS_RL = {
    "max_steps": "rl.steps=3",
    "max_grad_norm": "rl.max_grad_norm=0.5",
    "per_device_train_batch_size": "rl.group_size=4",
    "gradient_accumulation_steps": "rl.micro_batch_size=1",
    "steps_per_generation": "rl.minibatches=2",
    "generation_batch_size": "rl.group_size=4",
    "num_generations": "rl.group_size=4",
    "num_iterations": "rl.epochs=2",
    "max_completion_length": "rl.max_completion_length=30",
    "temperature": "rl.temperature=0.5",
    "top_p": "rl.top_p=0.5",
    "beta": "rl.kl=0.5",
    "epsilon": "rl.clip=0.5",
    "epsilon_high": "rl.clip_high=0.5",
    "loss_type": "rl.loss_aggregation=token_mean",
    "shuffle_dataset": "rl.shuffle=false",
    "logging_steps": "rl.epochs=2",
    "use_vllm": "rl.engine=vllm_colocate",
    "vllm_mode": "rl.engine=vllm_server",
    "vllm_gpu_memory_utilization": "rl.vllm.memory_share=0.5",
    "vllm_tensor_parallel_size": "rl.vllm.tensor_parallel=2",
    "vllm_max_model_length": "rl.vllm.max_length=50",
    "vllm_importance_sampling_correction": "rl.vllm.correction=token",
    "vllm_importance_sampling_mode": "rl.vllm.correction=sequence",
    "vllm_importance_sampling_clip_max": "rl.vllm.correction_cap=2",
}
KEYS_SFT = {
    "num_train_epochs": "sft.epochs=2",
    "max_steps": "sft.epochs=2",
    "max_length": "sft.max_length=100",
    "per_device_train_batch_size": "sft.batch_size=4",
}
# Written where they are set, because the stage or the machine decides them.
SET_IN_PLACE = {
    "max_grad_norm": "SFT: 1.0, the library's and the paper's",
    "num_train_epochs": "RL: max_steps ends it",
    "bf16": "on a GPU; a CPU trains in float32",
    "gradient_checkpointing": "on a GPU: memory; the same gradients to rounding",
    "average_tokens_across_devices": "SFT: the loss is a token mean over all processes",
    "vllm_importance_sampling_clip_min": "no lower bound (repro.rl.sampler_gap)",
    "generation_kwargs": "vLLM: the ids that end a completion (repro.models.stop_tokens)",
    "vllm_server_base_url": "where the stage's server answers",
    "gradient_accumulation_steps": "SFT: a batch is one forward pass of each process",
    "remove_unused_columns": "RL: the rewards read columns that the model does not",
    "logging_steps": "SFT: every step is logged",
    "log_completions": "ours are kept (rollouts.parquet)",
}
# Without effect on what is learned, by why.
NO_EFFECT = {
    "only read with a loss that no key chooses": """sapo_temperature_neg sapo_temperature_pos
        vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg""",
    "only read with a switch that is fixed off": """ref_model_mixup_alpha ref_model_sync_steps
        entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target packing_strategy
        eval_packing torch_compile_backend torch_compile_mode""",
    "an old name of another argument": "vllm_importance_sampling_cap",
    "the data are token ids already": "dataset_text_field dataset_num_proc length_column_name",
    "padding, which no token sees": "pad_to_multiple_of",
    "evaluation during training, of which there is none": """num_generations_eval eval_steps
        eval_strategy eval_delay eval_on_start eval_accumulation_steps eval_do_concat_batches
        eval_use_gather_object batch_eval_metrics bf16_full_eval fp16_full_eval do_eval do_predict
        per_device_eval_batch_size prediction_loss_only include_for_metrics label_names
        load_best_model_at_end metric_for_best_model greater_is_better""",
    "logs and trackers": """debug disable_tqdm log_level log_level_replica log_on_each_node
        logging_first_step logging_nan_inf_filter logging_strategy report_to run_name project
        trackio_bucket_id trackio_space_id trackio_static_space_id skip_memory_metrics
        include_num_input_tokens_seen log_multimodal num_completions_to_print log_unique_prompts
        log_completions_hub_repo""",
    "files and the hub": """save_strategy save_total_limit save_on_each_node enable_jit_checkpoint
        push_to_hub hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy
        hub_token resume_from_checkpoint do_train trust_remote_code""",
    "how processes share the work, the same sums to rounding (launch=...)": """ddp_backend
        ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph
        ddp_timeout deepspeed fsdp fsdp_config parallelism_config local_rank
        ds3_gather_for_generation""",
    "memory and speed, the same numbers to rounding": """gradient_checkpointing_kwargs
        activation_offloading torch_empty_cache_steps use_cache use_cpu tf32
        vllm_enable_sleep_mode""",
    "where the server is, beside its address": """vllm_server_host vllm_server_port
        vllm_server_timeout vllm_group_port""",
    "how batches are brought to the device": """dataloader_in_order dataloader_multiprocessing_context
        dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory
        dataloader_prefetch_factor""",
}  # fmt: skip
IGNORED = {name for names in NO_EFFECT.values() for name in names.split()}


def rl_arguments(work: Path, *overrides: str):
    config = composed(*SHRINK, "rl=grpo", *overrides)
    validate(config)
    return stage.arguments(plain(config), work)


def sft_arguments(work: Path, *overrides: str):
    config = composed(*SHRINK, "sft=long", *overrides)
    validate(config)
    return sft.arguments(plain(config), work, rows=16)


@pytest.mark.parametrize(
    ("kind", "fixed", "keys"),
    [(trl.GRPOConfig, FIXED_RL, KEYS_RL), (trl.SFTConfig, FIXED_SFT, KEYS_SFT)],
    ids=["rl", "sft"],
)
def test_every_argument_is_classified(kind, fixed: dict, keys: dict) -> None:
    """An upgrade that brings a new argument fails here until somebody has said what it does."""
    names = {field.name for field in dataclasses.fields(kind) if field.init}
    known = {*FIXED, *fixed, *KEYS_BOTH, *keys, *SET_IN_PLACE, *IGNORED}
    assert names <= known, f"not classified: {sorted(names - known)}"
    assert not {*FIXED, *fixed, *keys} & IGNORED
    assert not {*FIXED} & {*fixed}


def test_nothing_is_classified_that_does_not_exist() -> None:
    names = {field.name for kind in (trl.GRPOConfig, trl.SFTConfig) for field in dataclasses.fields(kind)}
    known = {*FIXED, *FIXED_RL, *FIXED_SFT, *KEYS_BOTH, *KEYS_RL, *KEYS_SFT, *SET_IN_PLACE, *IGNORED}
    assert known <= names, f"gone: {sorted(known - names)}"


def test_what_is_fixed_reaches_the_trainers(tmp_path) -> None:
    for made, fixed in (
        (rl_arguments(tmp_path), {**FIXED, **FIXED_RL}),
        (sft_arguments(tmp_path), {**FIXED, **FIXED_SFT}),
    ):
        for name, value in fixed.items():
            found = getattr(made, name)
            if name == "accelerator_config":
                found = {key: getattr(found, key) for key in value}
            elif hasattr(found, "value"):
                found = found.value
            assert found == value, name


@pytest.mark.parametrize("section", ["rl", "sft"])
def test_a_key_changes_its_argument(section: str, tmp_path) -> None:
    make, keys = {"rl": (rl_arguments, KEYS_RL), "sft": (sft_arguments, KEYS_SFT)}[section]
    before = {
        "vllm_mode": ["rl.engine=vllm_colocate"],
        "vllm_importance_sampling_mode": ["rl.vllm.correction=token"],
    }
    for name, override in {**KEYS_BOTH, **keys}.items():
        if override is not None:
            base = make(tmp_path, *before.get(name, []))
            changed = make(tmp_path, override.format(section=section))
            assert getattr(base, name) != getattr(changed, name), name
