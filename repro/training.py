"""What SFT and RL share: trainer arguments, resuming after a kill, metrics of every step, a progress bar.

Metrics go to ``metrics.jsonl`` as they come (cut back to the checkpoint when a stage resumes, so no step is there twice), become
``metrics.parquet`` when the stage is done, and go to the tracker. They live in the work folder's ``.resume``, as the checkpoints do
(``repro.checkpoints``).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from repro import interrupt
from repro.checkpoints import OrderOfEpoch, StopOnRequest, last_checkpoint
from repro.launch import main_process
from repro.models import adapter
from repro.progress import Progress
from repro.store import RESUME
from repro.trainer_arguments import FIXED


def common_arguments(work: Path, section: dict[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Trainer arguments that SFT and RL share; those that no key decides are in ``repro.trainer_arguments``."""
    gpu = torch.cuda.is_available()
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    return {
        **FIXED,
        "output_dir": str(work / RESUME / "trainer"),
        "learning_rate": section["learning_rate"],
        "lr_scheduler_kwargs": {"min_lr_rate": section["min_learning_rate"]},
        "warmup_steps": math.ceil(section["warmup"] * steps),
        "max_steps": steps,
        "max_grad_norm": section.get("max_grad_norm", 1.0),
        "seed": seed,
        "data_seed": seed,
        "bf16": gpu,  # TRL's default is True, which is four times slower on a CPU
        "use_cpu": not gpu and not deepspeed,  # which accelerate passes over if told so
        "ddp_backend": "gloo" if deepspeed and not gpu else None,
        "gradient_checkpointing": gpu,
        "save_strategy": "steps",
        "save_steps": section["save_steps"],
        "save_total_limit": 2,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_first_step": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
        "average_tokens_across_devices": False,
        "ddp_find_unused_parameters": False,
    }


def one_gpu(arguments) -> None:
    """One process, one GPU, or the CPU; to be called between the trainer's arguments and the trainer.

    A process that sees several would otherwise put the model on all of them (``DataParallel``) and take as many times the batch.
    """
    arguments._n_gpu = min(1, arguments.n_gpu)
    if arguments.device.type == "cpu":
        # Several processes have "cpu:0", to which torch.load cannot bring an optimizer back.
        arguments.__dict__["_setup_devices"] = torch.device("cpu")


def admit_fsdp() -> None:
    """Let FSDP run on a CPU; to be called between the trainer's arguments and the trainer.

    Accelerate takes its settings only where the processes hold accelerators, and on CPUs falls back to DDP without a word.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.MULTI_GPU  # becomes FSDP when the trainer makes its accelerator


class KeepPolicies(TrainerCallback):
    """Keeps the policy every ``every`` steps for later evaluation: ``work/policies/step-000020``. 0 keeps none. Belongs in every process.

    ``updates``: optimizer steps that make one step.
    """

    def __init__(self, trainer, tokenizer, work: Path, every: int, updates: int = 1) -> None:
        self.trainer, self.tokenizer, self.folder, self.every, self.updates = trainer, tokenizer, work / "policies", every, updates

    def on_step_end(self, args, state, control, **_: Any) -> None:
        if self.every == 0 or state.global_step % (self.every * self.updates) or state.global_step == state.max_steps:
            return
        final = self.folder / f"step-{state.global_step // self.updates:06d}"
        draft = final.with_name(f".{final.name}")
        if main_process():
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)  # of a step that is done again after a kill
        save_model(self.trainer, self.tokenizer, draft)
        if main_process():
            draft.rename(final)


class Metrics(TrainerCallback):
    """Writes the metrics of every step to ``metrics.jsonl`` and the tracker, and shows a few on the progress bar.

    ``shown``: metric names -> short names on the bar. ``updates``: optimizer steps that make one step. ``samples``: rows to keep beside
    the metrics, asked for at every step. ``budget``: has a ``share`` that the bar shows in percent, where the steps are not known beforehand.
    """

    def __init__(
        self,
        work: Path,
        name: str,
        tracker,
        shown: dict[str, str],
        start: int,
        updates: int = 1,
        samples: Callable[[], list[dict[str, Any]]] = list,
        budget: Any = None,
    ) -> None:
        self.path, self.name, self.tracker, self.shown, self.start = work / RESUME / "metrics.jsonl", name, tracker, shown, start
        self.bar, self.updates, self.samples, self.budget, self.clock = None, updates, samples, budget, time.perf_counter()
        self.tables = work / RESUME / "rollouts.jsonl"
        for path in (self.path, self.tables):
            self._cut_back(path)
        if self.path.exists():  # a tracker's file may lack the last steps before a kill, this one does not
            for line in self.path.read_text().splitlines():
                self.tracker.log(json.loads(line))

    def _cut_back(self, path: Path) -> None:
        """Drop what came after the checkpoint, and a line that a kill cut in two."""
        if not path.exists():
            return
        rows, kept = path.read_text().splitlines(), []
        for row in rows:
            try:
                if json.loads(row)["step"] <= self.start:
                    kept.append(row + "\n")
            except ValueError:
                continue
        draft = path.with_suffix(".tmp")
        draft.write_text("".join(kept))
        os.replace(draft, path)

    def on_train_begin(self, args, state, control, **_: Any) -> None:
        if self.budget:
            self.bar = Progress(100, self.name, "%", initial=int(100 * self.budget.share))
        else:
            self.bar = Progress(state.max_steps // self.updates, self.name, initial=self.start)
        self.clock = time.perf_counter()
        if args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def on_log(self, args, state, control, logs=None, **_: Any) -> None:
        row = {k: v for k, v in (logs or {}).items() if isinstance(v, (int, float)) and math.isfinite(v)}
        if "train_runtime" in row:  # the trainer's summary, not a step
            return
        # num_tokens counts from the last start of the trainer, so it is wrong after a resume
        row = {"step": state.global_step // self.updates, **{k: v for k, v in row.items() if k not in ("total_flos", "num_tokens")}}
        now = time.perf_counter()
        if "tokens" in row:
            row["tokens_per_second"] = row["tokens"] / (now - self.clock)
        self.clock = now
        if not state.is_world_process_zero:
            return
        if args.device.type == "cuda":
            row["gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
        samples = self.samples()
        if samples:
            with self.tables.open("a") as file:
                file.writelines(json.dumps(sample) + "\n" for sample in samples)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.tracker.log(row)
        reached = int(100 * self.budget.share) if self.budget else row["step"]
        self.bar.update(reached - self.bar.n, **{short: row[k] for k, short in self.shown.items() if k in row})

    def on_train_end(self, args, state, control, **_: Any) -> None:
        self.bar.__exit__()


def kept_samples(work: Path) -> list[dict[str, Any]]:
    """The completions that were kept to read, in the order of their steps."""
    path = work / RESUME / "rollouts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def save_model(trainer, tokenizer, folder: Path) -> None:
    """The model that is being trained, as a checkpoint that ``from_pretrained`` reads; an adapter is merged. Every process takes part."""
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    adapted = adapter.is_adapted(model)
    weights = {} if adapted else trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathers what is spread
    if not main_process():
        return
    if adapted:
        model, weights = adapter.merged(model)
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)  # gathered, it is no longer seen to be the embeddings
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def finish(trainer, tokenizer, work: Path) -> list[dict[str, float]]:
    """Save the trained model to ``work/model``, its adapter to ``work/adapter`` and the metrics as Parquet.

    Returns:
        The metrics; none in other processes than the first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    save_model(trainer, tokenizer, work / "model")
    if not main_process():
        return []
    if adapter.is_adapted(model := trainer.accelerator.unwrap_model(trainer.model_wrapped)):
        model.save_pretrained(work / "adapter")
    rows = [json.loads(line) for line in (work / RESUME / "metrics.jsonl").read_text().splitlines()]
    columns = dict.fromkeys(k for row in rows for k in row)
    pq.write_table(pa.table({k: pa.array([row.get(k) for row in rows]) for k in columns}), work / "metrics.parquet")
    rollouts = kept_samples(work)
    if rollouts:
        pq.write_table(pa.Table.from_pylist(rollouts), work / "rollouts.parquet")
    return rows


def run(trainer, work: Path, updates: int = 1, budget: Any = None) -> None:
    """Train to the end from the newest complete checkpoint, or from the start. ``updates``: optimizer steps that make one step.

    ``budget``: its ``used`` says that the end came by it, before the trainer's last step.

    The trainer resets its own random state from the checkpoint, so the continuation is the undisturbed one.

    Raises:
        Interrupted: asked to stop; the checkpoint is written. RuntimeError: the data ended early.
    """
    from transformers import PrinterCallback, ProgressCallback

    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    stop = StopOnRequest(work, updates)
    trainer.add_callback(stop)
    trainer.add_callback(OrderOfEpoch())
    checkpoint = last_checkpoint(work)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.stopped:
        raise interrupt.Interrupted(f"checkpoint of step {trainer.state.global_step // updates}")
    done, wanted = trainer.state.global_step, trainer.args.max_steps
    if done != wanted and not (budget and budget.used):  # an empty data loader ends a trainer without a word
        raise RuntimeError(f"the trainer ended after {done} of {wanted} steps")
