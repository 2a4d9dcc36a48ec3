"""The SFT stage: TRL's ``SFTTrainer`` on chains of one style, loss on the response only.

The paper's settings (section 2.4, table 6) at other sizes: cosine schedule to 10 %, Adam betas (0.9, 0.95), no packing. Run as part of a
cell (``python -m repro sft=long rl=none``). The chains are the micro world's own, those that a teacher distilled, or a file's (``sft.file``).
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from repro import checkpoints, training
from repro.config import ConfigError, adapter_of
from repro.data import judge, sets
from repro.data.mixture import Mixture, listed
from repro.data.teacher import messages
from repro.data.web import Item, response, source_items, train_items
from repro.data.world import item_rng
from repro.launch import main_process
from repro.models import adapter
from repro.models.load import encode_chat, load_model, load_tokenizer
from repro.models.positions import refuse_longer
from repro.tracking import open_tracker
from repro.trainer_arguments import FIXED_SFT

log = logging.getLogger(__name__)
VERSION = 4  # of the stage; raise it when a change here makes other checkpoints


def examples(data: dict[str, Any], style: str, samples: int, tokenizer, max_length: int) -> tuple[dict[str, list], int]:
    """Token columns ``input_ids`` and ``labels`` (-100 outside the response), and how many chains were too long.

    ``samples`` chains a problem of the train set: right ones, as rejection sampling leaves them, or what the erring teacher of the web set
    says (``repro.data.web.response``). Style ``judge``: references, responses and judgements instead (``repro.data.judge``).
    """
    columns: dict[str, list] = {"input_ids": [], "labels": []}
    dropped = 0

    def text(split: str, item: Item, sample: int) -> tuple[str, str]:
        if style == "judge":
            return judge.example(item.problem, item_rng(data["seed"], f"{style}/{item.problem.id}", sample))
        return item.problem.prompt(), response(item, split, style, sample, data["seed"])

    def rows(pairs: Iterable[tuple[str, Item]]) -> Iterator[tuple[list[int], list[int]]]:
        nonlocal dropped
        for split, item in pairs:
            for sample in range(samples):
                question, answer = text(split, item, sample)
                prompt = encode_chat(tokenizer, question)
                tokens = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
                if len(prompt) + len(tokens) > max_length:
                    dropped += 1
                    continue
                yield prompt, tokens

    chosen: Iterable[tuple[list[int], list[int]]]
    if data["split"] == "mixture" and data["mixture_by"] == "tokens":
        count = data["train_size"]
        sources = {name: listed(list(rows((name, item) for item in source_items(name, count, data["seed"])))) for name in data["mixture"]}
        mixture = Mixture(sources, data["mixture"], size=lambda row: len(row[1]))
        chosen = (row for _, row in islice(mixture, count * samples))
    else:
        chosen = rows(train_items(data))
    for prompt, tokens in chosen:
        columns["input_ids"].append(prompt + tokens)
        columns["labels"].append([-100] * len(prompt) + tokens)
    return columns, dropped


def imitated(path: str, samples: int, tokenizer, max_length: int) -> tuple[dict[str, list], int, dict[str, Any]]:
    """As ``examples``, from a set of prompts and responses (``repro.data.sets``): the first ``samples`` responses of every prompt; and its facts."""
    columns: dict[str, list] = {"input_ids": [], "labels": []}
    seen, dropped = sets.Inspector(path), 0
    for pair in sets.pairs(path):
        if seen.add(pair) >= samples:
            continue
        talk = messages(pair.prompt)
        prompt = tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=True, return_dict=False)
        tokens = tokenizer(pair.response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        if len(prompt) + len(tokens) > max_length:
            dropped += 1
            continue
        columns["input_ids"].append(prompt + tokens)
        columns["labels"].append([-100] * len(prompt) + tokens)
    facts = seen.facts
    if facts.suspicion:
        log.warning("sft: %s", facts.suspicion)
    return columns, dropped, {**vars(facts), "suspicion": facts.suspicion}


def arguments(config: dict[str, Any], work: Path, rows: int):
    """Return TRL's arguments for a cell whose train set has ``rows`` chains.

    Raises:
        ConfigError: the batch does not divide over the processes.
    """
    from trl import SFTConfig

    sft = config["sft"]
    steps = math.ceil(rows / sft["batch_size"]) * sft["epochs"]
    share, rest = divmod(sft["batch_size"], int(os.environ.get("WORLD_SIZE", "1")))
    if rest:
        raise ConfigError(f"sft.batch_size={sft['batch_size']} does not divide over {os.environ['WORLD_SIZE']} processes")
    made = SFTConfig(
        **training.common_arguments(work, sft, config["seed"], steps)
        # Else the loss is the mean of the processes' token means: chains differ in length, and the result would depend on their number.
        | {"average_tokens_across_devices": True},
        per_device_train_batch_size=share,
        num_train_epochs=sft["epochs"],
        max_length=sft["max_length"],
        **FIXED_SFT,
    )
    training.one_gpu(made)
    training.admit_fsdp()
    return made


def build(config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """Fine-tune the model in ``start`` and save ``work/model``. Returns facts for the manifest."""
    from datasets import Dataset
    from trl import SFTTrainer

    sft = config["sft"]
    tokenizer = load_tokenizer(start)
    if sft["style"] == "judge":  # the judge's own words
        tokenizer.add_tokens(list(judge.WORDS))
    facts: dict[str, Any] = {}
    if sft_file := config.get("sft_file"):  # what the cell distilled, or sft.file
        columns, dropped, facts["set"] = imitated(sft_file, sft["samples_per_problem"], tokenizer, sft["max_length"])
    else:
        columns, dropped = examples(config["data"], sft["style"], sft["samples_per_problem"], tokenizer, sft["max_length"])
    rows = len(columns["input_ids"])
    if rows == 0:
        raise ConfigError(f"sft.max_length={sft['max_length']} leaves none of {dropped} chains: give more tokens, or another sft.style")
    if dropped:
        log.info("sft: %d of %d chains are longer than sft.max_length=%d and left out", dropped, rows + dropped, sft["max_length"])
    refuse_longer(
        start,
        max(map(len, columns["input_ids"])),
        f"sft.max_length={sft['max_length']}: the longest chain",
        "set sft.max_length to at most {positions}, and longer chains are left out",
    )
    made = arguments(config, work, rows)
    lora = adapter_of(config, "sft")
    # Now that every process has its device.
    model = load_model(start, training=True, half=bool(lora) and lora["base_dtype"] == "bfloat16")
    if sft["style"] == "judge":
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    begin = checkpoints.start_step(work)
    main = main_process()
    with open_tracker(config if main else {**config, "tracking": {"name": "none"}}, run_id, "sft") as tracker:
        trainer = SFTTrainer(
            model=model,
            peft_config=adapter.lora(lora) if lora else None,
            args=made,
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
        )
        trainer.add_callback(checkpoints.Marker())
        if main:
            shown = {"loss": "loss", "mean_token_accuracy": "token acc"}
            trainer.add_callback(training.Metrics(work, f"sft {sft['name']}", tracker, shown, begin))
        training.run(trainer, work)
    training.finish(trainer, tokenizer, work)
    facts["parameters"] = adapter.sizes(trainer.accelerator.unwrap_model(trainer.model))
    return {"tokens": sum(map(len, columns["input_ids"])) * sft["epochs"], "rows": rows, "steps": made.max_steps, **facts}
