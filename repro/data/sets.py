"""Prompts with responses from a file or the hub: what SFT imitates where the chains are not the micro world's own.

Our distilled Parquet, what the WebInstruct pipeline kept (a row's ``responses``), the authors' released sets (``demystify-long-cot/...`` on
the hub, one ``messages`` column, as their SFT scripts read it) and anybody's JSONL. The name of a released set says how many candidates a
prompt were sampled (``...-n128``); a set with more responses to a prompt than that is not what its name says. That is how the set called
qwq-rs-n128, which has as many rows as n192 (D-23), shows.

    python -m repro.data.sets hub:demystify-long-cot/math-train-qwq-rs-n128 hub:demystify-long-cot/math-train-qwq-rs-n192
    python -m repro sft=long rl=none sft.file=mine.parquet model.path=...          # one cell that trains on a set
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.files import BenchmarkError, data_dir
from repro.config import ConfigError
from repro.data.teacher import Prompt, messages

log = logging.getLogger(__name__)
TALKS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "problem", "question", "query", "instruction")
RESPONSES = ("response", "completion", "output", "generation", "solution")
ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names


@dataclass(frozen=True)
class Pair:
    """A prompt, bare or as a conversation, and the response to imitate."""

    prompt: Prompt
    response: str


def located(source: str) -> str:
    """``source`` as ``repro.data.corpus.rows`` reads it: ``hub:OWNER/NAME``, or a file, below ``REPRO_DATA_DIR`` if its name is relative.

    A name with one slash and no ending that is no file here is one of the hub.

    Raises:
        ConfigError: no such file.
    """
    path = Path(source).expanduser()
    if source.startswith("hub:") or path.exists():
        return source if source.startswith("hub:") else str(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not path.name.endswith((".parquet", ".jsonl", ".gz")):
        return f"hub:{source}"
    try:
        below = data_dir(None) / source
    except BenchmarkError:
        below = path
    if not below.exists():
        raise ConfigError(f"{source!r}: no such file; give a JSONL or Parquet file, or hub:OWNER/NAME")
    return str(below)


def rows_of(source: str) -> Iterator[dict[str, Any]]:
    """Rows of a file or of a set of the hub, by streaming. Raises ConfigError for what cannot be read, and for a set without rows."""
    from repro.data.corpus import rows

    row = None
    for row in rows(located(source)):
        yield row
    if row is None:
        raise ConfigError(f"{source!r} has no rows")


def _talk(row: dict[str, Any]) -> list[dict[str, str]] | None:
    name = next((n for n in TALKS if isinstance(row.get(n), list)), None)
    if name is None:
        return None
    turns = [t for t in row[name] if isinstance(t, dict)]
    found = [{"role": t.get("role", t.get("from")), "content": t.get("content", t.get("value"))} for t in turns]
    good = len(turns) == len(row[name]) and all(isinstance(t["role"], str) and isinstance(t["content"], str) for t in found)
    return [{**t, "role": ROLES.get(t["role"], t["role"])} for t in found] if good and found else None


def _column(row: dict[str, Any], names: Sequence[str]) -> str | None:
    return next((row[n] for n in names if isinstance(row.get(n), str)), None)


def prompt_text(row: dict[str, Any], source: str, index: int) -> str:
    """What the user asks in a row, for decontamination. Raises ConfigError where there is no such column."""
    talk = _talk(row)
    found = "\n".join(t["content"] for t in talk if t["role"] == "user") if talk else _column(row, PROMPTS)
    if found is None:
        raise ConfigError(_unknown(row, source, index, f"{', '.join((*TALKS, *PROMPTS))} with the prompt"))
    return found


def _unknown(row: dict[str, Any], source: str, index: int, wanted: str) -> str:
    return f"{source!r}, row {index + 1}: no text column {wanted}; it has {', '.join(map(str, row)) or 'none'}; rename the column"


def pairs(source: str) -> Iterator[Pair]:
    """Every row's prompt and response, or its ``responses`` one by one.

    A bare ``problem`` or ``question`` gets the usual instruction; a ``prompt`` is taken as it stands.

    Raises:
        ConfigError: nothing to read, unknown columns, an empty prompt or response.
    """
    from repro.data.prompts import INSTRUCTION

    for index, row in enumerate(rows_of(source)):
        talk = _talk(row)
        if talk is not None:
            if talk[-1]["role"] != "assistant" or len(talk) < 2:
                raise ConfigError(f"{source!r}, row {index + 1}: the conversation must end with the assistant's response to a prompt")
            prompt: Prompt = talk[:-1]
            prompt = prompt[0]["content"] if len(prompt) == 1 and prompt[0]["role"] == "user" else prompt
            response: str | None = talk[-1]["content"]
        else:
            prompt, response = _column(row, PROMPTS) or "", _column(row, RESPONSES)
            if isinstance(row.get("prompt_messages"), str):  # as distillation writes it
                prompt = json.loads(row["prompt_messages"])
            several = row.get("responses")
            if not prompt:
                raise ConfigError(_unknown(row, source, index, f"{', '.join((*TALKS, *PROMPTS))} with the prompt"))
            if isinstance(prompt, str) and not isinstance(row.get("prompt"), str) and INSTRUCTION not in prompt:
                prompt = f"{prompt}\n{INSTRUCTION}"
            if response is None and isinstance(several, list) and all(isinstance(text, str) for text in several):
                yield from (Pair(prompt, text) for text in several if text.strip())
                continue
            if response is None:
                raise ConfigError(_unknown(row, source, index, f"{', '.join(RESPONSES)} with the response"))
        if not response.strip():
            raise ConfigError(f"{source!r}, row {index + 1}: the response is empty; leave such rows out")
        yield Pair(prompt, response)


@dataclass(frozen=True)
class Facts:
    """``most``: responses of the prompt that has most of them. ``claimed``: candidates a prompt that the name promises, None if it does not.
    ``digest``: of all rows in any order; equal for sets with the same content."""

    source: str
    rows: int
    prompts: int
    most: int
    claimed: int | None
    digest: str

    @property
    def suspicion(self) -> str:
        """What is wrong with the set by its own name; empty if nothing shows."""
        if self.claimed is None or self.most <= self.claimed:
            return ""
        return f"{self.source}: its name says {self.claimed} candidates a prompt, but a prompt has {self.most} responses (D-23: it may be another set)"


class Inspector:
    """Gathers ``Facts`` while pairs go by; holds one hash a prompt."""

    def __init__(self, source: str) -> None:
        named = re.search(r"-n(\d+)(?:$|[^0-9a-z])", "/".join(Path(source).parts[-2:]))  # of the set or its folder
        self.source, self.claimed = source, int(named.group(1)) if named else None
        self.by_prompt: Counter[bytes] = Counter()
        self.sum = 0

    def add(self, pair: Pair) -> int:
        """How many responses the prompt had before this one."""
        prompt = json.dumps(messages(pair.prompt)).encode()
        key = hashlib.blake2b(prompt, digest_size=8).digest()
        self.sum += int.from_bytes(hashlib.sha256(prompt + b"\x00" + pair.response.encode()).digest()[:16], "big")
        self.by_prompt[key] += 1
        return self.by_prompt[key] - 1

    @property
    def facts(self) -> Facts:
        most = max(self.by_prompt.values(), default=0)
        digest = f"{self.sum % 2**128:032x}"
        return Facts(self.source, self.by_prompt.total(), len(self.by_prompt), most, self.claimed, digest)


def inspect(source: str) -> Facts:
    """Facts of a whole set. Raises ConfigError as ``pairs``."""
    found = Inspector(source)
    for pair in pairs(source):
        found.add(pair)
    return found.facts


def suspicions(sets: Sequence[Facts]) -> list[str]:
    """One line for everything that is wrong: names that do not fit, and sets of other names with the same content or the same number of rows."""
    lines = [facts.suspicion for facts in sets if facts.suspicion]
    for i, one in enumerate(sets):
        for two in sets[i + 1 :]:
            if one.digest == two.digest:
                lines.append(f"{one.source} and {two.source} have the same content")
            elif one.rows == two.rows and one.claimed != two.claimed:
                lines.append(f"{one.source} and {two.source} have the same number of rows, {one.rows:,}, for other numbers of candidates")
    return lines


def main(arguments: Sequence[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(
            "python -m repro.data.sets SET [SET ...]\n\nRows, prompts and responses a prompt of sets (JSONL, Parquet, hub:OWNER/NAME), and what is"
        )
        print("suspicious about them. Exit code: 0, 1 where something is, 2 for a set that cannot be read.")
        return 0
    try:
        found = [inspect(source) for source in arguments]
    except (ConfigError, OSError) as error:
        print(f"repro.data.sets: {error}", file=sys.stderr)
        return 2
    for facts in found:
        claimed = "" if facts.claimed is None else f", {facts.claimed} candidates by its name"
        print(
            f"{facts.source}: {facts.rows:,} rows, {facts.prompts:,} prompts, at most {facts.most:,} responses a prompt{claimed}, {facts.digest[:12]}"
        )
    lines = suspicions(found)
    for line in lines:
        print(f"suspicious: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(lambda: main(sys.argv[1:]))
