"""Pre-training of the micro base models: skills first, then the habits of a corpus.

Phase 1 trains on full searches until searching works; phase 2 is short and on a mixture in which most solutions are bare or polished answers
(``repro.data.chains.MIXTURES``). What comes out knows how to search and rarely does: a base model whose skills RL can recombine. The stage
measures and prints the two aims of the world: it must be hard to guess and learnable by search.

Unlike usual pre-training, documents are not packed: a neighbour's coefficients in the same row would be mistaken for one's own. Documents
of similar length share a batch instead.

    python -m repro.models.pretrain model=micro_llama      # build a base checkpoint again and print its measurements
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from repro import interrupt
from repro.data.chains import MIXTURES, SKILLS, corpus
from repro.data.world import problems
from repro.models.load import build_micro, device_name, encode_chat
from repro.models.tokenizer import build_tokenizer
from repro.progress import Progress
from repro.store import RESUME

log = logging.getLogger(__name__)
VERSION = 1  # of the stage; raise it when a change here makes other checkpoints
POOL = 16  # batches drawn at once and sorted by length
MAX_LENGTH = 256  # tokens; the few longer documents are dropped
CHECKPOINT = 32 * POOL  # steps between checkpoints
MEASURED = 512  # problems behind each printed figure
GUESS_LIMIT, SEARCH_TARGET = 0.25, 0.85


def batches(mixture: dict[str, float], batch_size: int, seed: int, start: int, tokenizer) -> Iterator[tuple[Any, Any]]:
    """Endless (input_ids, labels) int64 tensors ``[batch, time]``, right-padded, labels -100 outside the response.

    ``start``: first step, a multiple of POOL; the same steps come out whatever it is.
    """
    import torch

    vocab = tokenizer.get_vocab()
    pool = start // POOL
    while True:
        documents = []
        for prompt, response in islice(corpus(mixture, seed, pool * POOL * batch_size), POOL * batch_size):
            ids = [vocab["<|user|>"], *(vocab[w] for w in prompt.split()), vocab["<|assistant|>"]]
            targets = [*(vocab[w] for w in response.split()), tokenizer.eos_token_id]
            documents.append((ids, targets) if len(ids) + len(targets) <= MAX_LENGTH else ([], []))
        documents.sort(key=lambda d: len(d[0]) + len(d[1]))
        groups = [documents[i : i + batch_size] for i in range(0, len(documents), batch_size)]
        random.Random(f"{seed}/pool/{pool}").shuffle(groups)
        for group in groups:
            width = max(len(a) + len(b) for a, b in group)
            inputs = torch.full((len(group), width), tokenizer.pad_token_id)
            labels = torch.full((len(group), width), -100)
            for row, (ids, targets) in enumerate(group):
                end = len(ids) + len(targets)
                inputs[row, :end] = torch.tensor(ids + targets)
                labels[row, len(ids) : end] = torch.tensor(targets)
            yield inputs, labels
        pool += 1


def loss_of(model, inputs, labels):
    """Mean cross-entropy over response tokens. Right padding needs no mask: causal attention never looks at it from a real token."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=inputs).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def train(micro: dict[str, Any], work: Path) -> tuple[Any, int, float]:
    """Run both phases, resuming from the checkpoint in ``work/.resume`` if a kill left one.

    Returns the model, the tokens seen and the share of searches that succeed after the first phase.
    """
    import torch

    tokenizer = build_tokenizer()
    torch.manual_seed(micro["seed"])
    model = build_micro(micro).to(device_name())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    saved, first, tokens, after_skills = work / RESUME / "checkpoint.pt", 0, 0, None

    def save(step: int) -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        draft = saved.with_suffix(".tmp")
        torch.save({**state, "step": step, "tokens": tokens, "after_skills": after_skills}, draft)
        os.replace(draft, saved)

    saved.parent.mkdir(parents=True, exist_ok=True)
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, tokens, after_skills = state["step"], state["tokens"], state["after_skills"]
    phases = [
        ("skills", SKILLS, micro["skill_steps"], micro["learning_rate"]),
        ("habits", MIXTURES[micro["mixture"]], micro["mixture_steps"], micro["mixture_learning_rate"]),
    ]
    offset = 0
    for number, (name, mixture, steps, peak) in enumerate(phases):
        begin = max(0, first - offset)
        source = batches(mixture, micro["batch_size"], micro["seed"] + 1000 * number, begin, tokenizer)
        running, bar = None, Progress(steps, f"pretrain {name}", initial=min(begin, steps))  # shows the running loss of the phase
        for step in range(begin, steps):
            inputs, labels = next(source)
            rate = peak * min(1.0, (step + 1) / 100) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(model, inputs.to(model.device), labels.to(model.device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            tokens += inputs.numel()
            running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
            bar.update(1, loss=running)
            if (step + 1) % CHECKPOINT == 0 or interrupt.wanted():
                save(offset + step + 1)
            if interrupt.wanted():
                raise interrupt.Interrupted(f"checkpoint of step {offset + step + 1}")
        bar.__exit__()
        offset += steps
        if name == "skills" and after_skills is None:  # a checkpoint at the very end of the phase was saved before this
            after_skills = measure(model, tokenizer)["search"]
        if first < offset:
            save(offset)
    return model, tokens, after_skills


def measure(model, tokenizer, seed: int = 0) -> dict[str, float]:
    """The two aims of the world and the habits of the model, on ``MEASURED`` problems of the test side.

    guess: share right when the answer comes first, greedy; search: share right when the chain starts with a try; free: share right and
    mean tokens of unprompted sampling at temperature 1.
    """
    from repro.models.generate import generate

    questions = problems("math", MEASURED)
    prompts = [encode_chat(tokenizer, q.prompt()) for q in questions]
    vocab = tokenizer.get_vocab()
    openings = {
        "guess": [[vocab["so"], vocab["\\boxed{"]] for _ in questions],
        "search": [[vocab[f"x{random.Random(f'{seed}/{i}').randrange(7)}"]] for i in range(len(questions))],
        "free": [[] for _ in questions],
    }
    found: dict[str, float] = {}
    for name, opening in openings.items():
        starts = [p + o for p, o in zip(prompts, opening, strict=True)]
        temperature = 0.0 if name == "guess" else 1.0
        limit = 2 if name == "guess" else 200
        keys = [f"{seed}/{name}/{i}" for i in range(len(starts))]
        outputs = generate(model, tokenizer, starts, max_tokens=limit, temperature=temperature, top_p=1.0, keys=keys)
        texts = [tokenizer.decode(o + c, skip_special_tokens=True) for o, c in zip(opening, outputs, strict=True)]
        found[name] = sum(f"\\boxed{{ {q.answer} }}" in t for q, t in zip(questions, texts, strict=True)) / len(questions)
        if name == "free":
            found["free_tokens"] = sum(map(len, outputs)) / len(outputs)
    return found


def describe(measured: dict[str, float]) -> str:
    """One line for the log: the two aims and whether they are met."""
    aims = [
        f"hard to guess: {measured['guess']:.2f} right without searching (aim < {GUESS_LIMIT})",
        f"learnable by search: {measured['search_after_skills']:.2f} right when it searches (aim > {SEARCH_TARGET})",
        f"habits: {measured['free']:.2f} right in {measured['free_tokens']:.0f} tokens when sampled freely, {measured['search']:.2f} when it searches",
    ]
    met = measured["guess"] < GUESS_LIMIT and measured["search_after_skills"] > SEARCH_TARGET
    return "; ".join(aims) + ("" if met else "; AIMS NOT MET")


def build(micro: dict[str, Any], work: Path) -> dict[str, Any]:
    """The stage: train, measure, save ``work/model`` like any Hugging Face checkpoint. Returns facts for the manifest."""
    tokenizer = build_tokenizer(micro["architecture"])
    model, tokens, after_skills = train(micro, work)
    measured = {**measure(model, tokenizer), "search_after_skills": after_skills}
    log.info("pretrain: %s", describe(measured))
    model.save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")
    return {"tokens": tokens, "measured": {k: round(v, 4) for k, v in measured.items()}}


def main() -> None:
    """Build the base of the chosen model anew, whatever ships, and install it as the shipped one: ``repro/models/base/<name>``."""
    import sys

    from hydra import compose, initialize_config_dir

    from repro.config import plain, register
    from repro.hydra_versions import VERSION_BASE
    from repro.models.base import install
    from repro.store import Store

    if {"-h", "--help"} & set(sys.argv[1:]):
        print(
            "usage: python -m repro.models.pretrain [model=micro_llama] [key=value ...]\n\nTrains a micro base model from scratch "
            "(about 15 minutes on one core), prints its measurements and replaces the checkpoint that ships with the project."
        )
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    register()
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), **VERSION_BASE):
        config = compose("config", overrides=[*sys.argv[1:], "model.micro.shipped=false"])
    print(install(plain(config)["model"], Store(config.paths.store), config.threads))


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
