"""The sample browser of the page: responses as blocks of JSON text, which page.js parses when their arm and benchmark are chosen.

Differs from a table of all samples in that the browser of the reader never holds more than it shows: 100,000 samples are 200 pieces of text
until they are wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape

from repro.claims.records import Records

BLOCK = 500  # samples: a few hundred kB, parsed in milliseconds
HEAD, TAIL = 4000, 2000  # characters of a response that are kept; a chain of 14,000 tokens has fifty thousand
COLUMNS = ("question_id", "correct", "tokens", "reason", "gold", "extracted", "response")  # the order that page.js reads
Names = Mapping[tuple[str, str, str], str]  # (scale, stage, key of the configuration) -> name of its row in the leaderboard


def browser(records: Records, samples: int, names: Names) -> list[str]:
    """HTML of the section: two selects, the list, and the blocks. Empty where there is nothing to show.

    Args:
        samples: at most so many of each arm and benchmark.
    """
    blocks, options = [], []
    for label, rows in _rows(records, samples, names):
        own = []
        for first in range(0, len(rows), BLOCK):
            own.append(f"block-{len(blocks)}")
            # A response may hold "</script>"; with no < in it the block ends where it should.
            text = json.dumps(rows[first : first + BLOCK], ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
            blocks.append(f'<script type="application/json" id="{own[-1]}">{text}</script>')
        options.append(f'<option value="{" ".join(own)}" data-total="{len(rows)}">{escape(label)}</option>')
    if not blocks:
        return []
    kinds = "".join(f'<option value="{kind}">{kind}</option>' for kind in ("all", "wrong", "right", "no answer"))
    return [
        f'<h2 id="samples-head">Samples</h2><p class="dim">The first {samples} of each arm and benchmark, at the last step of its first seed.</p>',
        f'<label>Arm and benchmark <select id="pick">{"".join(options)}</select></label>',
        f'<label>Show <select id="only">{kinds}</select></label>',
        '<p id="seen" class="dim" role="status"></p><div id="samples"></div><button type="button" class="more" id="more" hidden>Show more</button>',
        *blocks,
    ]


def shortened(text: str) -> str:
    """Beginning and end of a long response, with how much is left out."""
    left_out = len(text) - HEAD - TAIL
    return text if left_out <= 0 else f"{text[:HEAD]}\n[... {left_out:,} characters left out ...]\n{text[-TAIL:]}"


def _rows(records: Records, most: int, names: Names) -> Iterator[tuple[str, list[list]]]:
    """(label, rows as ``COLUMNS``) of every configuration and benchmark; the texts are read here and only here."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from evals.benchmarks import BENCHMARKS

    for group in sorted(records.groups.values(), key=lambda g: (g.scale, g.stage, g.key)):
        if (group.scale, group.stage, group.key) not in names:  # a search for traces has no samples
            continue
        seed = min(group.evaluations[group.last])
        _, cell = group.evaluations[group.last][seed]
        at = [("stage", "=", group.stage), ("step", "=", group.last)]
        table = pq.read_table(cell.folder / "records.parquet", columns=["stage", "step", "benchmark", *COLUMNS], filters=at)
        for benchmark in table["benchmark"].unique().to_pylist():
            part = table.filter(pc.equal(table["benchmark"], benchmark)).slice(0, most)
            *others, texts = (part[name].to_pylist() for name in COLUMNS)
            title = BENCHMARKS[benchmark].title if benchmark in BENCHMARKS else benchmark
            label = f"{names[group.scale, group.stage, group.key]}, {group.stage}, {title}"
            yield label, [list(row) for row in zip(*others, (shortened(text) for text in texts), strict=True)]
