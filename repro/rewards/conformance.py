"""Where the paper's rewards and their namesakes part: tables, and any reward drawn against length before a run.

    python -m repro.rewards.conformance                        the tables, for the paper's 16K runs
    python -m repro.rewards.conformance --max-length 2048      for another window
    python -m repro.rewards.conformance --plot reward_surface.png reward=cosine_repetition reward.cosine.r0_correct=10
                                                               the reward that `python -m repro` with the same words would use

TRL's functions are imported. open-r1 cannot be installed beside this project, so ``open_r1_cosine`` and ``open_r1_repetition`` are own,
short implementations of what its functions of that name do.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from repro import rewards
from repro.rewards.terms import RewardBatch, Term

CHARACTERS_PER_TOKEN = 4  # to give open-r1, which counts characters, a length: about that of English and mathematics
OPEN_R1_MAX_LENGTH = 1000  # its default


def open_r1_cosine(
    characters: int, correct: bool, *, max_length: int = OPEN_R1_MAX_LENGTH, bounds: Sequence[float] = (1.0, 0.5, -1.0, -0.5)
) -> float:
    """What open-r1's ``get_cosine_scaled_reward`` pays: by characters of the text, no exceed rule, no clamp, so the cosine turns back.

    ``bounds``: correct when short, correct at the limit, wrong when short, wrong at the limit. (An unparsable gold
    answer earns 1 there.)
    """
    start, end = bounds[:2] if correct else bounds[2:]
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * characters / max_length))


def open_r1_repetition(text: str, *, ngram_size: int = 3, max_penalty: float = -1.0) -> float:
    """What open-r1's ``get_repetition_penalty_reward`` pays: the sequence-level helper on the response's words, right or wrong alike."""
    return float(rewards.sequence_repetition([text], ngram_size=ngram_size, max_penalty=max_penalty)[0])


def cosine_table(max_length: int) -> list[list[str]]:
    """Rows over lengths x correctness; the first row is the header."""
    from trl.rewards import get_cosine_scaled_reward

    lengths = [1, *(round(max_length * share) for share in (0.07, 0.14, 0.28, 0.5, 0.7, 0.84, 0.98))]
    lengths = sorted({*lengths, max_length - 17, max_length - 16, max_length} & set(range(1, max_length + 1)))
    bounds = {"max_value_correct": 2.0, "min_value_correct": 1.0, "min_value_wrong": -10.0, "max_value_wrong": 0.0}
    trl = {"TRL": get_cosine_scaled_reward(max_length), "TRL, paper's values": get_cosine_scaled_reward(max_length, **bounds)}
    table = [["tokens", "answer", "paper", *trl, "open-r1", "open-r1, paper's values"]]
    for length in lengths:
        for correct in (True, False):
            completion = [[{"role": "assistant", "content": rf"\boxed{{{1 if correct else 2}}}"}]]
            values = [rewards.cosine([length], [correct], max_length=max_length)[0]]
            values += [function(completion, [r"$1$"], [[0] * length])[0] for function in trl.values()]
            characters = CHARACTERS_PER_TOKEN * length
            values.append(open_r1_cosine(characters, correct))
            values.append(open_r1_cosine(characters, correct, max_length=max_length, bounds=(2.0, 1.0, -10.0, 0.0)))
            table.append([str(length), "correct" if correct else "wrong", *map(_shown, values)])
    return table


def _shown(value: float) -> str:
    return f"{value:z.4f}"


def cosine_partings(max_length: int) -> list[str]:
    """One line a namesake."""
    turn = max_length // CHARACTERS_PER_TOKEN
    return [
        f"TRL: agrees with the paper when given its values, up to {max_length - 17} tokens; from {max_length - 16} the paper pays -10 "
        "whatever the answer (the exceed rule, margin 16), and TRL the end of its curve. Its defaults (correct 1 to 0.5, wrong -1 to -0.5) "
        "are 20 times flatter for wrong answers.",
        f"open-r1: counts characters (here {CHARACTERS_PER_TOKEN} a token) against a limit meant as tokens: with the paper's values its "
        f"curve ends at {turn} tokens and climbs back: short again at {2 * turn}. No exceed rule. "
        f"Defaults as TRL's, limit {OPEN_R1_MAX_LENGTH}.",
    ]


def repetition_texts() -> dict[str, str]:
    """Texts that separate the variants."""
    prose = " ".join(f"w{index}" for index in range(200))
    phrase = " ".join(f"v{index}" for index in range(60))
    return {
        "200 words, no repeat": prose,
        "a phrase of 10 words, 3 times": " ".join([prose, *[" ".join(phrase.split()[:10]), "so"] * 3]),
        "a phrase of 60 words, twice": f"{phrase} {prose} {phrase}",
        "the same, other case": f"{phrase} {prose} {phrase.upper()}",
        "one word, 200 times": " ".join(["wait"] * 200),
        "no spaces, all repetition": "1+1=2;" * 40,
        "2 words": "the end",
    }


def repetition_table() -> list[list[str]]:
    """Rows over texts; the first row is the header. A toy tokenizer makes a token of every word and of every sign."""
    from trl.rewards import get_repetition_penalty_reward

    trl = get_repetition_penalty_reward()
    head = [
        "text",
        "tokens",
        "paper: tokens penalised",
        "sum",
        "at its start, gamma 0.99",
        "paper's helper (40 words)",
        "TRL (3 tokens)",
        "open-r1 (3 words)",
    ]
    table = [head]
    for name, text in repetition_texts().items():
        pieces = re.findall(r"\w+|[^\w\s]", text)
        vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
        ids = [vocabulary[piece] for piece in pieces]
        penalty = rewards.dense_repetition([ids])[0]
        values = [
            penalty.sum(),
            seen_at_start(penalty, 0.99),
            rewards.sequence_repetition([text])[0],
            trl([ids])[0],
            open_r1_repetition(text),
        ]
        table.append([name, str(len(ids)), str(np.count_nonzero(penalty)), *map(_shown, values)])
    return table


def seen_at_start(reward: np.ndarray, gamma: float) -> float:
    """The discounted sum of per-token rewards as seen where the first one is paid: what the token that starts a repeat is charged with."""
    paid = np.flatnonzero(reward)
    return float((reward[paid] * gamma ** (paid - paid[0])).sum()) if paid.size else 0.0


REPETITION_PARTINGS = (
    "paper: -0.05 on every token of a repeated 40-gram of token ids: it says where, grows with the repetition, is discounted from there.",
    "paper's helper: one number a response, the share of its repeated word n-grams; off in the released runs. It reads the prompt too, "
    "charges wrong answers only, and divides by zero on texts shorter than n words (0 here).",
    "TRL: the helper's share, of token ids instead of words and with n=3, which ordinary prose repeats; right or wrong alike.",
    "open-r1: the helper's share of words, n given by the recipe (3), right or wrong alike; blind to repetition without spaces.",
)


def plot_surface(terms: Mapping[str, Term], max_length: int, path: str) -> None:
    """Draw the reward against length for a correct, a wrong and a missing answer, and the dense penalties of a response that only repeats.

    Args:
        terms: reward terms by name; the sparse ones are summed. A dense term is drawn as its sum over one token repeated to that length,
            discounted with the term's gamma, as the start of the repetition sees it.
        max_length: generation limit, in tokens.
        path: image to write; the suffix decides its format.

    Raises:
        ValueError: a term's parameters are refused, or there is no term.
    """
    if not terms:
        raise ValueError("reward: has no term to draw")
    for term in terms.values():
        term.validate()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lengths = np.unique(np.linspace(1, max_length, 400).astype(int))
    # The jump at the window, drawn where it is and not between two points of the grid.
    lengths = np.union1d(lengths, np.clip([max_length - 17, max_length - 16], 1, None))
    sparse = {name: term for name, term in terms.items() if not term.dense}
    dense = {name: term for name, term in terms.items() if term.dense}
    figure, axes = plt.subplots(
        1, bool(sparse) + bool(dense), figsize=(5.5 * (bool(sparse) + bool(dense)), 4), squeeze=False, layout="constrained"
    )
    panels = iter(axes[0])
    if sparse:
        axis = next(panels)
        correct, wrong, missing = (
            _sparse_sum(sparse, lengths, *flags, max_length) for flags in ((True, True), (False, True), (False, False))
        )
        axis.plot(lengths, correct, "-", label="correct")
        axis.plot(lengths, wrong, "--", label="wrong")
        if (missing != wrong).any():
            axis.plot(lengths, missing, ":", label="no answer")
        axis.set(title=" + ".join(sparse), xlabel="tokens of the response, EOS included", ylabel="reward")
        axis.legend()
    if dense:
        axis = next(panels)
        for name, term in dense.items():
            rows = [np.zeros(length, dtype=np.int64) for length in lengths[::4]]
            streams = term.compute(_batch(lengths[::4], False, True, max_length, rows))
            axis.plot(lengths[::4], [seen_at_start(stream, term.gamma) for stream in streams], label=f"gamma {term.gamma:g}")
            axis.set(
                title=f"{name}: one token repeated", xlabel="tokens of the response, EOS included", ylabel="discounted sum at its start"
            )
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _batch(lengths: np.ndarray, correct: bool, answered: bool, max_length: int, token_ids: Sequence[Sequence[int]]) -> RewardBatch:
    size = lengths.size
    return RewardBatch(
        lengths=lengths,
        correct=np.full(size, correct),
        answered=np.full(size, answered),
        token_ids=token_ids,
        texts=[""] * size,
        question_ids=["surface"] * size,
        sample_indices=np.arange(size),
        max_length=max_length,
    )


def _sparse_sum(terms: Mapping[str, Term], lengths: np.ndarray, correct: bool, answered: bool, max_length: int) -> np.ndarray:
    batch = _batch(lengths, correct, answered, max_length, [()] * lengths.size)
    return np.sum([term.compute(batch) for term in terms.values()], axis=0)


def composed_terms(overrides: Sequence[str]) -> tuple[dict[str, Term], int]:
    """(reward terms, window in tokens) of the cell that these Hydra overrides compose.

    Raises:
        ConfigError: a cell that must not run. Hydra's own errors for an override it cannot read.
    """
    from pathlib import Path

    from hydra import compose, initialize_config_dir

    from repro.config import plain, register
    from repro.hydra_versions import VERSION_BASE
    from repro.rewards.terms import from_config
    from repro.validate import validate

    register()
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), **VERSION_BASE):
        config = compose("config", overrides=list(overrides))
    validate(config)
    return from_config(plain(config)["reward"]), config.rl.max_completion_length


def _print_table(table: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for number, row in enumerate(table):
        print(
            "| "
            + " | ".join(
                cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
        )
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or draw; a refused argument is one line on stderr and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m repro.rewards.conformance", description="The paper's rewards beside their namesakes.")
    parser.add_argument("--max-length", type=int, help="window T in tokens (tables: 14336, the paper's; plot: the cell's)")
    parser.add_argument("--plot", metavar="FILE", help="draw the reward against length instead of printing the tables")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for --plot: Hydra overrides, e.g. reward=cosine rl=grpo")
    options = parser.parse_args(arguments)
    from repro.errors import explain

    try:
        if options.plot:
            terms, window = composed_terms(options.overrides)
            plot_surface(terms, options.max_length or window, options.plot)
            print(f"wrote {options.plot}")
            return 0
        if options.overrides:
            raise ValueError(f"{options.overrides[0]}: overrides choose what --plot FILE draws; the tables have no choice")
        options.max_length = options.max_length or 14336
        if options.max_length < 64:
            raise ValueError(f"--max-length {options.max_length}: must be at least 64, for the table to show the curve")
    except Exception as error:
        line = explain(error) or (str(error) if isinstance(error, (ValueError, OSError)) else None)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2
    print(f"# Cosine reward, max_length {options.max_length}\n")
    _print_table(cosine_table(options.max_length))
    print("\nWhere they part:", *cosine_partings(options.max_length), sep="\n- ")
    print("\n# Repetition penalty\n")
    _print_table(repetition_table())
    print("\nWhere they part:", *REPETITION_PARTINGS, sep="\n- ")
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
