"""What ``tests.forked`` imports once: the libraries of the stages, nothing of the project that keeps state."""

import os

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
os.environ.update(DATASETS_VERBOSITY="error", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
import trl.trainer.grpo_trainer
import trl.trainer.sft_trainer  # noqa: F401

torch.set_num_threads(1)
