"""Documents of a corpus as a stream: local text, JSONL or Parquet (a file or a folder of them), a set of the hub, or a generated corpus.

Unlike ``evals.files.read_rows`` nothing is held but one batch, so the size of the corpus does not matter. A document's type, forum or other, is
read off its address; one without an address is ``unknown``.

    for document in documents("openwebmath.parquet"): ...        # or "hub:open-web-math/open-web-math"
"""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config import ConfigError

KINDS = (".jsonl", ".jsonl.gz", ".parquet", ".txt", ".txt.gz")
FORUM = re.compile(
    r"stackexchange|stackoverflow|mathoverflow|physicsforums|mathhelpforum|artofproblemsolving\.com/community|reddit\.com|quora\.com"
    r"|(?:^|[/.])(?:forums?|discuss|discourse|community|boards?|answers)[./]|/(?:threads?|topics?|questions)/|showthread|viewtopic",
    re.I,
)
WORDS = (
    *("the", "sum", "of", "a", "term", "series", "function", "value", "bound", "proof", "lemma"),
    *("limit", "integral", "graph", "point", "number", "matrix", "root", "prime", "ring", "map", "set"),
)


@dataclass(frozen=True)
class Document:
    """``kind``: forum | other | unknown. ``planted``: phrases that a generated corpus holds, else None."""

    text: str
    url: str
    kind: str
    planted: tuple[str, ...] | None = None


def kind_of(url: str) -> str:
    return "unknown" if not url else "forum" if FORUM.search(url) else "other"


def files_of(source: str) -> list[Path]:
    """Raises ConfigError where there is no such file or nothing readable in the folder."""
    path = Path(source).expanduser()
    found = sorted(p for p in path.rglob("*") if p.name.endswith(KINDS)) if path.is_dir() else [path]
    if not path.exists() or not found:
        raise ConfigError(f"corpus {source!r}: no {', '.join(KINDS)} file there; give a file, a folder, or hub:OWNER/NAME")
    if not all(p.name.endswith(KINDS) for p in found):
        raise ConfigError(f"corpus {source!r}: unknown kind of file; use one of {', '.join(KINDS)}")
    return found


def rows(source: str, split: str = "train") -> Iterator[dict[str, Any]]:
    """Rows of a local file or folder, or ``hub:OWNER/NAME`` by streaming; text files give one row a block between blank lines.

    Raises:
        ConfigError: nothing readable, a damaged file, a line that is no JSON object, a hub that cannot be reached.
    """
    if source.startswith("hub:"):
        from datasets import load_dataset

        try:
            yield from load_dataset(source.removeprefix("hub:"), split=split, streaming=True)
        except Exception as error:
            raise ConfigError(f"corpus {source!r}: cannot be streamed ({str(error).splitlines()[0][:150]}); give a local copy") from None
        return
    for path in files_of(source):
        if path.name.endswith(".parquet"):
            yield from _parquet(path)
            continue
        opened = gzip.open if path.name.endswith(".gz") else open
        try:
            if ".txt" in path.name:
                with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
                    yield from _blocks(lines)
            else:
                with opened(path, "rb") as lines:
                    yield from _objects(lines, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ConfigError(f"corpus {path}: damaged ({error}); copy it again") from None


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=512):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:  # a damaged page is an OSError of several lines
        raise ConfigError(f"corpus {path}: cannot be read as Parquet ({str(error).splitlines()[0][:150]}); copy it again") from None


def _objects(lines: Iterable[bytes], path: Path) -> Iterator[dict[str, Any]]:
    """Rows of JSONL; what is not UTF-8 is refused, since such rows are also trained on."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError as error:
            raise ConfigError(f"corpus {path}, line {number}: not UTF-8 (byte {error.object[error.start]:#x}); convert the file") from None
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ConfigError(f"corpus {path}, line {number}: not a JSON object; one object a line")
        yield row


def _blocks(lines: Any) -> Iterator[dict[str, Any]]:
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield {"text": "".join(block)}
            block = []
    if block:
        yield {"text": "".join(block)}


def documents(source: str, column: str = "text") -> Iterator[Document]:
    """Raises ConfigError as ``rows``, for a missing text column, and for a corpus without documents."""
    row = None
    for row in rows(source):
        text = row.get(column)
        if not isinstance(text, str):
            raise ConfigError(f"corpus {source!r}: no text column {column!r}; it has {', '.join(row)}; name it with --column")
        url = row.get("url") or ""
        yield Document(text, url, row.get("kind") or kind_of(url), tuple(row["planted"]) if row.get("planted") is not None else None)
    if row is None:
        raise ConfigError(f"corpus {source!r} is empty: give one with documents")


PLAIN = 20_000  # sentences that documents are drawn from, besides the planted ones


def generated(size: int, phrases: list[str], seed: int = 0, duplicates: float = 0.05) -> Iterator[Document]:
    """Documents of about 2.5 kB, ``size`` bytes in all: 30 % forum, ``duplicates`` of them near copies of one of the last 1,000.

    Phrases stand in 4 of 1,000 forum sentences and 1 of 1,000 others: half as they are, half with a word added. As many sentences are decoys,
    which begin like a phrase and end otherwise. A near copy has two words in a hundred changed, and ``planted`` None.
    """
    rng = random.Random(f"{seed}/plain")
    plain = [_sentence(rng) for _ in range(PLAIN)]
    recent: list[Document] = []
    made = index = 0
    while made < size:
        rng = random.Random(f"{seed}/{index}")
        if recent and rng.random() < duplicates:
            document = _near_copy(rng.choice(recent), rng)
        else:
            document = _document(rng, index, plain, phrases)
            recent = [*recent[-999:], document] if index % 50 == 0 or len(recent) < 20 else recent
        made += len(document.text)
        index += 1
        yield document


def _sentence(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randrange(5, 22))
    words[rng.randrange(len(words))] = f"x{rng.randrange(10**6)}"
    return " ".join(words).capitalize() + "."


def _near_copy(document: Document, rng: random.Random) -> Document:
    words = [w if rng.random() > 0.02 else f"v{rng.randrange(10**6)}" for w in document.text.split(" ")]
    return Document(" ".join(words), document.url, document.kind, None)


def _document(rng: random.Random, index: int, plain: list[str], phrases: list[str]) -> Document:
    kind = "forum" if rng.random() < 0.3 else "other"
    sentences, planted = rng.choices(plain, k=36), []
    for place in range(len(sentences)):
        draw = rng.random() / (4e-3 if kind == "forum" else 1e-3)
        if not phrases or draw > 2:
            continue
        words = rng.choice(phrases).split()
        if draw < 0.5:
            words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
        elif draw > 1:
            words = [*words[: len(words) // 2], *rng.choices(WORDS, k=len(words))]
        sentences[place] = " ".join(words).capitalize() + "."
        if draw <= 1:
            planted.append(sentences[place])
    url = f"https://forum.example/threads/{index}" if kind == "forum" else f"https://notes.example/{index}"
    return Document(" ".join(sentences), url, kind, tuple(planted))
