"""The arguments of TRL and transformers that change the training signal and are no key of the configuration.

They are written out, since their defaults move between versions. What a key decides stands in
``repro.training``, ``repro.sft`` and ``repro.rl.stage``; what changes no signal (logging, files,
evaluation during training, distribution) is left to the library and listed in
``tests/test_trainer_arguments.py``, which fails on an argument of the pinned versions that is in
none of the three.
"""

from __future__ import annotations

from typing import Any

# Of both trainers. The paper's optimizer is Adam with betas (0.9, 0.95) and no weight decay.
FIXED: dict[str, Any] = {
    "optim": "adamw_torch",
    "optim_args": None,
    "optim_target_modules": None,  # of GaLore and its like only
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "lr_scheduler_type": "cosine_with_min_lr",
    "label_smoothing_factor": 0.0,
    "neftune_noise_alpha": None,  # noise on embeddings
    "auto_find_batch_size": False,  # would change the batch where memory is short
    "dataloader_drop_last": False,
    "train_sampling_strategy": "random",
    "ignore_data_skip": False,  # a resumed run must not see data twice
    "save_only_model": False,  # nor lose its optimizer
    "restore_callback_states_from_checkpoint": False,  # ours read their own files
    "full_determinism": False,  # its kernels are slower; a CPU run is deterministic without
    "use_liger_kernel": False,  # other kernels, other rounding
    "liger_kernel_config": None,
    "torch_compile": False,
    "fp16": False,  # bf16 on a GPU, float32 on a CPU
    "router_aux_loss_coef": None,  # of mixtures of experts
    "model_init_kwargs": None,  # the model is loaded by repro.models.load
    # Data order: the same for any number of processes, and another one in every pass.
    "accelerator_config": {
        "split_batches": False,
        "dispatch_batches": None,
        "even_batches": True,
        "use_seedable_sampler": True,
    },
}

# Of GRPOTrainer.
FIXED_RL: dict[str, Any] = {
    "disable_dropout": True,  # a ratio of two dropouts is no importance weight
    "cast_lm_head_to_fp32": False,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "cache_implementation": None,
    "use_transformers_continuous_batching": False,
    "transformers_continuous_batching_config": None,
    "use_transformers_paged": False,
    "chat_template_kwargs": None,
    "max_tool_calling_iterations": None,
    "vllm_model_impl": "vllm",
    "vllm_structured_outputs_regex": None,
    # The advantages are ours, from streams of rewards (repro.rl.trainer).
    "scale_rewards": "none",
    "reward_weights": None,
    "multi_objective_aggregation": "sum_then_normalize",
    "importance_sampling_level": "token",
    "delta": None,  # a second clip of the ratio
    "off_policy_mask_threshold": None,
    "top_entropy_quantile": 1.0,  # every token counts, whatever its entropy
    "entropy_coef": 0.0,  # TRL's bonus depends on the micro-batches; ours is rl.entropy_coefficient
    "use_adaptive_entropy": False,
    "use_bias_correction_kl": False,
    "sync_ref_model": False,  # the reference is the start policy for the whole run
    "mask_truncated_completions": False,  # ours acts in the loss only (rl.mask_truncated)
}

# Of SFTTrainer, which gets token ids and labels.
FIXED_SFT: dict[str, Any] = {
    "packing": False,
    "padding_free": False,
    "truncation_mode": "keep_start",  # longer chains are left out before
    "shuffle_dataset": False,  # the sampler shuffles
    "completion_only_loss": None,  # the labels say it
    "assistant_only_loss": False,
    "loss_type": "nll",
    "eos_token": None,
    "pad_token": None,
    "chat_template_path": None,
    "dataset_kwargs": {"skip_prepare_dataset": True},
}
