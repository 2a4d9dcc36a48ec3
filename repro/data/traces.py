"""Traces of reflection in pre-training text (section 6.5): how often sentences resemble given phrases, by type of document.

The paper shows examples from OpenWebMath; this gives rates. As there, a sentence matches a query where the Jaccard similarity of their word
trigrams is 0.5 or more. The paper estimates it with 128 MinHash permutations; a query has a handful of trigrams, so an inverted index gives it
exactly and faster, without the estimate's misses. Rates are matches per million sentences with 95 % intervals: Poisson, widened by how much
matches cluster in documents. Short queries match trivially (of two words, one word is half) and are flagged; rates are given without them.
On a generated corpus recall and precision are given against the planted phrases, by type of document and by whether a word was added to them.

    python -m repro.data.traces openwebmath/ --processes 8 --out traces.json
    python -m repro.data.traces --generate 20e6           # a corpus with planted phrases: recall and precision
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from repro.config import ConfigError
from repro.data.corpus import Document, documents, files_of, generated
from repro.store import Stage

QUERIES = Path(__file__).with_name("trace_queries.yaml")
SIMILARITY = 0.5
VERSION = 2  # of what is found; part of the stage's key
TRIVIAL = 2  # a query with fewer trigrams is matched by a single one
BATCH, EXAMPLES = 256, 40
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
WORD = re.compile(r"\w+")


def trigrams(words: list[str]) -> frozenset[str]:
    """Word trigrams; the words themselves where there are fewer than three."""
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False))) or frozenset(words)


def load_queries(path: Path = QUERIES) -> dict[str, Any]:
    """``provenance``, and ``queries``: phrase -> {group, trivial}. Raises ConfigError for a file that is no such list."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text())
        found = {q: group for group, phrases in raw["groups"].items() for q in phrases}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"queries {path}: cannot be read ({type(error).__name__}); it needs provenance and groups: {{name: [phrase]}}"
        ) from None
    empty = [q for q in found if not (isinstance(q, str) and WORD.search(q))]
    if empty or not found:
        raise ConfigError(f"queries {path}: {empty[0] if empty else 'the list'!r} has no words")
    sets = {q: trigrams(WORD.findall(q.lower())) for q in found}
    short = {q: len(s) < TRIVIAL or len(WORD.findall(q)) < 3 for q, s in sets.items()}
    return {"provenance": raw.get("provenance", "not given"), "queries": {q: {"group": g, "trivial": short[q]} for q, g in found.items()}}


class Searcher:
    """Exact trigram Jaccard of sentences against the queries."""

    def __init__(self, queries: Iterable[str]) -> None:
        self.queries = [(q, trigrams(WORD.findall(q.lower()))) for q in queries]
        self.index: dict[str, list[int]] = collections.defaultdict(list)
        for i, (_, grams) in enumerate(self.queries):
            for gram in grams:
                self.index[gram].append(i)
        self.verbatim = {tuple(WORD.findall(q.lower())) for q, _ in self.queries}
        # |A & B| / |A | B| >= s needs |A| <= |B| / s, so longer sentences cannot match; a trigram twice counts once, hence the slack
        self.longest = 2 * int(max(len(g) for _, g in self.queries) / SIMILARITY) + 2

    def altered(self, sentence: str) -> bool:
        """Whether it is none of the queries word for word."""
        return tuple(WORD.findall(sentence.lower())) not in self.verbatim

    def match(self, sentence: str) -> list[str]:
        """The queries that the sentence resembles."""
        words = WORD.findall(sentence.lower())
        if not words or len(words) > self.longest:
            return []
        grams = trigrams(words)
        if self.index.keys().isdisjoint(grams):  # nearly all sentences
            return []
        shared = collections.Counter(i for gram in grams for i in self.index.get(gram, ()))
        return [self.queries[i][0] for i, n in shared.items() if n / (len(grams) + len(self.queries[i][1]) - n) >= SIMILARITY]


_searcher: Searcher | None = None
_trivial: frozenset[str] = frozenset()


def _start(queries: dict[str, dict[str, Any]]) -> None:
    global _searcher, _trivial
    _searcher, _trivial = Searcher(queries), frozenset(q for q, f in queries.items() if f["trivial"])


def _search(batch: list[Document]) -> dict[str, Any]:
    """Sums over a batch that give rates and their spread, counts by query, examples, and the hits of planted phrases."""
    assert _searcher is not None
    kinds: dict[str, list[float]] = collections.defaultdict(lambda: [0.0] * 7)
    by_query: collections.Counter[str] = collections.Counter()
    examples: list[dict[str, Any]] = []
    truth: dict[str, list[int]] = collections.defaultdict(lambda: [0] * 5)  # by kind of document, as ``recalled`` reads it
    for document in batch:
        sentences = trivial = 0
        hits: list[str] = []
        for sentence in SENTENCE.split(document.text):
            sentences += 1
            found = _searcher.match(sentence)
            if not found:
                continue
            by_query.update(found)
            if all(q in _trivial for q in found):
                trivial += 1
            else:
                hits.append(sentence)
            if document.planted is not None:
                truth[document.kind][4] += 1
                if sentence in document.planted:
                    truth[document.kind][1 if _searcher.altered(sentence) else 0] += 1
            if len(examples) < EXAMPLES:
                examples.append({"kind": document.kind, "url": document.url, "sentence": sentence[:200], "queries": found})
        for sentence in document.planted or ():
            truth[document.kind][3 if _searcher.altered(sentence) else 2] += 1
        m, s = len(hits), sentences
        for i, value in enumerate((1, s, m, trivial, m * m, m * s, s * s)):
            kinds[document.kind][i] += value
    return {
        "kinds": dict(kinds),
        "queries": by_query,
        "examples": examples,
        "truth": dict(truth),
        "bytes": sum(len(d.text.encode()) for d in batch),
    }


def _batches(stream: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(stream)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


def search(stream: Iterable[Document], queries: dict[str, Any], processes: int = 1) -> dict[str, Any]:
    """Rates by type of document, counts by query, examples. Memory does not grow with the corpus.

    Args:
        queries: as ``load_queries`` returns them.
    """
    from repro.progress import Progress

    total: dict[str, Any] = {"kinds": {}, "queries": collections.Counter(), "examples": [], "truth": {}, "bytes": 0}

    def add(part: dict[str, Any]) -> None:
        for kind, sums in part["kinds"].items():
            total["kinds"][kind] = _sum(total["kinds"].get(kind, [0.0] * 7), sums)
        total["queries"].update(part["queries"])
        total["examples"] = (total["examples"] + part["examples"])[:EXAMPLES]
        for kind, sums in part["truth"].items():
            total["truth"][kind] = _sum(total["truth"].get(kind, [0] * 5), sums)
        total["bytes"] += part["bytes"]
        bar.update(part["bytes"])

    with Progress(0, "traces", "byte") as bar:
        if processes == 1:
            _start(queries["queries"])
            for batch in _batches(stream):
                add(_search(batch))
        else:
            with ProcessPoolExecutor(processes, initializer=_start, initargs=(queries["queries"],)) as pool:
                running: set[Any] = set()
                for batch in _batches(stream):
                    running.add(pool.submit(_search, batch))
                    if len(running) > 2 * processes:  # bounded: the corpus is read no faster than it is searched
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            add(future.result())
                for future in running:
                    add(future.result())
    rates = {kind: rate(sums) for kind, sums in sorted(total["kinds"].items())}
    counts = {q: {**facts, "matches": total["queries"][q]} for q, facts in queries["queries"].items()}
    found = {"provenance": queries["provenance"], "bytes": total["bytes"], "rates": rates, "ratio": ratio(rates)}
    if total["truth"]:
        everywhere = [sum(column) for column in zip(*total["truth"].values(), strict=True)]
        found["truth"] = recalled(everywhere) | {"by_kind": {kind: recalled(sums) for kind, sums in sorted(total["truth"].items())}}
    return {**found, "queries": counts, "examples": total["examples"]}


def _sum(a: list[Any], b: list[Any]) -> list[Any]:
    return [x + y for x, y in zip(a, b, strict=True)]


def recalled(sums: list[int]) -> dict[str, Any]:
    """Recall and precision against planted phrases; None where nothing was planted or found. A phrase with a word added has another set of
    trigrams: of five words, one in the middle leaves one of three, a similarity of 1/6. Those misses are the method's, by its definition.

    Args:
        sums: found of the phrases that stand word for word and with a word added, planted of either, and all matches.
    """
    exact, altered, exact_planted, altered_planted, hits = sums
    share = lambda part, whole: part / whole if whole else None  # noqa: E731
    facts = {"planted": exact_planted + altered_planted, "found": hits, "recall": share(exact + altered, exact_planted + altered_planted)}
    facts |= {"recall_verbatim": share(exact, exact_planted), "recall_word_added": share(altered, altered_planted)}
    return facts | {"precision": share(exact + altered, hits)}


def rate(sums: list[float]) -> dict[str, float]:
    """Matches per million sentences with a 95 % interval: exact Poisson on the effective number of matches.

    Args:
        sums: documents, sentences, matches, trivial matches, and the sums over documents of m^2, m s, s^2.
    """
    from scipy.stats import chi2

    n, s, m, trivial, mm, ms, ss = sums
    r = m / s
    spread = (mm - 2 * r * ms + r * r * ss) / m if m else 1.0  # variance of the total against Poisson's
    effect = max(1.0, spread * n / max(1.0, n - 1))
    k = m / effect
    low = chi2.ppf(0.025, 2 * k) / 2 if k else 0.0
    high = chi2.ppf(0.975, 2 * k + 2) / 2
    scale = effect / s * 1e6
    facts = {"documents": int(n), "sentences": int(s), "matches": int(m), "trivial_matches": int(trivial)}
    return {**facts, "per_million": r * 1e6, "low": low * scale, "high": high * scale, "design_effect": effect}


def ratio(rates: dict[str, dict[str, float]]) -> dict[str, float] | None:
    """Rate of forum documents over that of others, with a 95 % interval; None where either has no match."""
    a, b = rates.get("forum"), rates.get("other")
    if not a or not b or not a["matches"] or not b["matches"]:
        return None
    log = math.log(a["per_million"] / b["per_million"])
    error = 1.96 * math.sqrt(a["design_effect"] / a["matches"] + b["design_effect"] / b["matches"])
    return {"ratio": math.exp(log), "low": math.exp(log - error), "high": math.exp(log + error)}


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| documents | number | sentences | matches | per million sentences (95 %) | by short queries only |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {kind} | {r['documents']:,} | {r['sentences']:,} | {r['matches']:,} | {r['per_million']:z.1f} [{r['low']:z.1f}, {r['high']:z.1f}] "
        f"| {r['trivial_matches']:,} |"
        for kind, r in found["rates"].items()
    ]
    if found["ratio"]:
        r = found["ratio"]
        lines += ["", f"Forum over other: {r['ratio']:z.2f} [{r['low']:z.2f}, {r['high']:z.2f}]. Queries: {found['provenance']}."]
    if "truth" in found:
        lines += ["", *truth_table(found["truth"])]
    flagged = [q for q, f in found["queries"].items() if f["trivial"]]
    return "\n".join([*lines, "", f"Flagged as matching trivially: {', '.join(flagged) or 'none'}."])


def truth_table(truth: dict[str, Any]) -> list[str]:
    """Lines of Markdown: recall and precision by type of document."""
    shown = lambda value: "-" if value is None else f"{value:z.3f}"  # noqa: E731
    lines = ["| planted in | phrases | recall | word for word | with a word added | precision |", "|---|---:|---:|---:|---:|---:|"]
    for kind, t in {**truth["by_kind"], "all": truth}.items():
        cells = (t["recall"], t["recall_verbatim"], t["recall_word_added"], t["precision"])
        lines.append(f"| {kind} | {t['planted']:,} | {' | '.join(map(shown, cells))} |")
    return lines


def run(
    source: str | None, queries: Path, processes: int, generate: float, seed: int, column: str = "text", parts: int = 1
) -> dict[str, Any]:
    """Search ``source``, or a generated corpus of ``generate`` bytes. Raises ConfigError as its parts.

    Args:
        seed: of the generated corpus. parts: of ``source``, dealt out document by document; number ``seed`` is searched.
    """
    loaded = load_queries(queries)
    if processes < 1:
        raise ConfigError(f"processes={processes}: at least 1")
    if source is None:
        if not 0 < generate < math.inf:
            raise ConfigError("no corpus: give a file, a folder, hub:OWNER/NAME, or a size to generate")
        return search(generated(int(generate), list(loaded["queries"]), seed), loaded, processes)
    return search(itertools.islice(documents(source, column), seed if parts > 1 else 0, None, parts), loaded, processes)


def stage_of(settings: dict[str, Any], seed: int) -> tuple[Stage, Callable[[Path], dict[str, Any]]]:
    """The stage of a cell (plain values of ``repro.config.TracesConfig``) and what builds it: ``traces.json``, with its main facts returned.

    Raises:
        ConfigError: as ``run``.
    """
    queries = Path(settings["queries"]).expanduser() if settings["queries"] else QUERIES
    read = {key: settings[key] for key in ("column", "megabytes", "parts")} | {"seed": seed, "queries": load_queries(queries)}
    source = settings["corpus"]
    if source is not None and not source.startswith("hub:"):
        read["files"] = [(p.name, p.stat().st_size) for p in files_of(source)]
    else:
        read["corpus"] = source

    def build(work: Path) -> dict[str, Any]:
        size = 1e6 * (settings["megabytes"] or 0)
        found = run(source, queries, settings["processes"], size, seed, settings["column"], settings["parts"])
        (work / "traces.json").write_text(json.dumps(found, indent=1))
        return {key: found[key] for key in ("rates", "ratio", "truth", "bytes") if key in found} | {"table": table(found)}

    return Stage("traces", read, {}, VERSION), build


def main() -> None:
    parser = argparse.ArgumentParser(prog="repro.data.traces", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", help="text, JSONL or Parquet file, a folder of them, or hub:OWNER/NAME")
    parser.add_argument("--column", default="text", help="of the text")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="YAML file of phrases")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--generate", type=float, default=0, metavar="BYTES", help="search a generated corpus of this size instead")
    parser.add_argument("--seed", type=int, default=0, help="of the generated corpus")
    parser.add_argument("--out", type=Path, help="JSON file with rates, counts by query and examples")
    options = parser.parse_args()
    try:
        if options.out and not options.out.parent.is_dir():
            raise ConfigError(f"--out {options.out}: there is no folder {options.out.parent}; make it first")
        found = run(options.corpus, options.queries, options.processes, options.generate, options.seed, options.column)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))
    except (ConfigError, OSError) as error:
        print(f"repro.data.traces: {error}", file=sys.stderr)
        sys.exit(2)
    print(table(found))


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
