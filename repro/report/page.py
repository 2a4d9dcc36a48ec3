"""report.html: everything in one file that opens without a network.

Differs from a notebook export in its size and in what it asks of the reader's machine: a few lines of plain JavaScript, charts as inline
SVG, and samples as blocks of JSON text that are only parsed when their arm and benchmark are chosen and shown 25 at a time, so that many
thousands of them do not slow the page down. Follows the light or dark scheme; tables sort by the buttons in their headers; on a phone a
row of the claim table becomes a card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from repro.claims.engine import Result
from repro.claims.records import Records
from repro.report import curves, variance

if TYPE_CHECKING:
    from repro.report.summary import Report

# The columns of the claim table: what a narrow screen must show first comes first.
FIRST = (
    "claim",
    "verdict",
    "ours [interval]",
    "paper",
    "seeds",
    "p (Holm)",
    "reason",
    "metric",
    "arms",
    "detectable",
    "p (permutation)",
    "P(ahead)",
    "section",
    "tests",
    "status",
)

BLOCK = 500  # samples: a few hundred kB, parsed in milliseconds

CSS = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1f2328;--dim:#59636e;--line:#d1d9e0;--soft:#f6f8fa;--link:#0b62a4}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e6edf3;--dim:#9aa4af;--line:#373e47;--soft:#1d232b;--link:#6db3f2}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1280px;padding:16px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid var(--line)}a{color:var(--link)}.dim{color:var(--dim)}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:5px 8px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}th{background:var(--soft);white-space:nowrap}
td:first-child{min-width:13em}td.n{white-space:nowrap;font-variant-numeric:tabular-nums}th button{all:unset;cursor:pointer;font-weight:600}
th button::after{content:" \\2195";color:var(--dim)}th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
th button:focus-visible,a:focus-visible,select:focus-visible,.more:focus-visible,.wide:focus-visible,summary:focus-visible
{outline:2px solid var(--link);outline-offset:2px}
.v{font-weight:600}.v::before{content:"\\25CF ";color:var(--dim)}.reproduced::before,.smaller::before{color:#1a7f37}.contradicted::before,
.not::before{color:#cf222e}.inconclusive::before{color:#bf8700}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr));gap:16px}svg.chart{width:100%;height:auto;max-width:720px}
select,.more{font:inherit;max-width:100%;padding:6px 10px;margin:4px 8px 4px 0;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:6px}
.more,summary{cursor:pointer}summary{margin:12px 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:8px;margin:4px 0;border-radius:6px}
.sample{border-bottom:1px solid var(--line);padding:8px 0}code{overflow-wrap:anywhere}
@media(max-width:760px){.cards thead tr{display:flex;flex-wrap:wrap}.cards thead th{border:0}.cards tbody tr{display:block;padding:8px 0;border-bottom:2px solid
var(--line)}.cards td{display:block;border:0;padding:1px 8px}.cards td::before{content:attr(data-h) ": ";color:var(--dim)}.cards td.n{white-space:normal}}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].textContent.trim();
    const order = (a, b) => {
      const x = value(a), y = value(b), p = parseFloat(x), q = parseFloat(y);
      if (isNaN(p) !== isNaN(q)) return isNaN(p) ? 1 : -1;
      return (up ? 1 : -1) * (isNaN(p) ? x.localeCompare(y) : p - q);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
const pick = document.getElementById("pick"), only = document.getElementById("only"), list = document.getElementById("samples");
const more = document.getElementById("more"), seen = document.getElementById("seen"), SIZE = 25;
let blocks = [], total = 0, found = [], shown = 0, block = 0;
function add(parent, tag, text) { const made = document.createElement(tag); made.textContent = text; parent.append(made); }
function next() {
  // A block is parsed when its samples are wanted, not before.
  for (const most = shown + SIZE; found.length < most && block < blocks.length; block++) {
    const samples = JSON.parse(document.getElementById(blocks[block]).textContent);
    for (const s of samples) if (only.value === "all" || s[1] === (only.value === "right")) found.push(s);
  }
  for (const [question, right, tokens, why, gold, answer, text] of found.slice(shown, shown + SIZE)) {
    const box = document.createElement("div");
    box.className = "sample";
    add(box, "div", `${right ? "right" : "wrong"}: ${question}, expected ${gold}, found ${answer === null ? "no answer" : answer}, ${tokens} tokens, ${why}`);
    add(box, "pre", text);
    list.append(box);
  }
  shown = Math.min(found.length, shown + SIZE);
  more.hidden = shown >= found.length && block >= blocks.length;
  seen.textContent = `${shown} ${only.value === "all" ? `of ${total} shown` : `${only.value} ones shown, of ${total} samples`}`;
}
function choose() {
  const option = pick.selectedOptions[0];
  [blocks, total, found, shown, block] = [option.value.split(" "), option.dataset.total, [], 0, 0];
  list.replaceChildren();
  next();
}
if (pick) { pick.addEventListener("change", choose); only.addEventListener("change", choose); more.addEventListener("click", next); choose(); }
"""


def render(reports: Sequence[Report], records: Records, samples: int) -> str:
    """The page. ``samples``: at most so many of each arm and benchmark, of its first seed and last step; 0 leaves the browser out."""
    from repro.report.summary import NOTE, leaderboard_cells, tally

    body = ["<h1>Report</h1>", '<p class="dim">Generated by <code>python -m repro.report</code> from the records of finished cells.</p>']
    for report in reports:
        body.append(f"<h2>{escape(report.scale)} scale: leaderboard</h2>")
        body.append(grid(*leaderboard_cells(report), label="leaderboard"))
        body.append(
            '<p class="dim">avg@k in percent with a 95 % interval over training seeds (over questions where there is one seed). '
            "* statistically tied best set: not told from the best mean by Welch's test over training seeds.</p>"
        )
        body.append(f"<h2>{escape(report.scale)} scale: claims</h2><p>{escape(tally(report.results))}.</p>")
        tested = [r for r in report.results if r.verdict.name != "not tested"]
        untested = [r for r in report.results if r.verdict.name == "not tested"]
        body += [_claims(tested, "claims")] if tested else []
        if untested:  # with few experiments run these are most, and nobody wants to scroll past them
            body.append(
                f"<details><summary>{len(untested)} not tested, with reasons</summary>{_claims(untested, 'claims not tested')}</details>"
            )
        body.append(f'<p class="dim">{escape(NOTE.replace("*", ""))}</p>')
        odd = sorted({r.registration.exploratory for r in report.results if r.registration.exploratory})
        body += [f'<p class="dim">exploratory: {escape(reason)}</p>' for reason in odd]
        body += _forests(report)
        if report.sources:
            body.append(f"<h2>{escape(report.scale)} scale: where the spread of accuracy comes from</h2>")
            body.append(grid(variance.HEADINGS, [line.cells() for line in report.sources], label="variance"))
            body.append(f'<p class="dim">{escape(variance.NOTE)}</p>')
        if report.curves:
            body.append(f'<h2>{escape(report.scale)} scale: training curves</h2><p class="dim">Mean and 95 % t interval over seeds.</p>')
        for experiment, held in report.curves.items():
            drawn, silent = curves.charts(held)
            inline = "".join(svg.replace(' xmlns="http://www.w3.org/2000/svg"', "") for svg in drawn.values())
            note = f'<p class="dim">0 throughout: {escape(", ".join(silent))}.</p>' if silent else ""
            body.append(f'<h3>{escape(experiment)}</h3><div class="charts">{inline}</div>{note}')
        body.append("<h2>Made by</h2><ul>")
        body += [
            f"<li>{escape(row.arm)} ({row.stage}): <code>{escape(row.command)}</code>, commit {escape(row.commit)}; {escape(apart)}</li>"
            for row, apart in zip(report.main, report.apart, strict=True)
        ]
        body.append("</ul>")
    body += _browser(records, samples) if samples else []
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Report</title>'
        f'<link rel="icon" href="data:,"><style>{CSS}{curves.style()}</style>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(body)}</main><script>{SCRIPT}</script></body></html>\n'


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str, titles: Sequence[str] = ()) -> str:
    """A sortable table in a box that scrolls on its own. ``titles``: one text a row, shown below its first cell."""
    head = "".join(f'<th scope="col"><button type="button">{escape(heading)}</button></th>' for heading in headings)
    lines = []
    for i, row in enumerate(rows):
        cells = []
        for j, (heading, text) in enumerate(zip(headings, row, strict=True)):
            inner, kind = escape(text), ' class="n"' if len(text) < 34 else ""
            if heading == "verdict":
                name = text.removeprefix("at proxy scale: ")
                tone = {"reproduced smaller": "smaller", "not reproduced": "not", "not tested": "un"}.get(name, name)
                inner = f'<span class="v {tone}">{inner}</span>'
            if j == 0 and titles:
                inner, kind = f'<b>{inner}</b><br><span class="dim">{escape(titles[i])}</span>', ""
            cells.append(f'<td data-h="{escape(heading)}"{kind}>{inner}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    cards = " cards" if titles else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table class="sort{cards}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _claims(results: Sequence[Result], label: str) -> str:
    from repro.report.summary import CLAIM_HEADINGS, claim_cells

    found = [dict(zip(CLAIM_HEADINGS, claim_cells(r), strict=True)) for r in results]
    return grid(FIRST, [[row[heading] for heading in FIRST] for row in found], label=label, titles=[r.claim.statement for r in results])


def _forests(report: Report) -> list[str]:
    """One plot a section with an estimate."""
    made = []
    for section in dict.fromkeys(r.claim.section for r in report.results):
        lines = []
        for r in report.results:
            if r.claim.section != section or r.estimate is None or r.interval is None:
                continue
            unit = (-1 if r.claim.direction == "decrease" else 1) * r.claim.margin
            low, high = sorted((r.interval.low / unit, r.interval.high / unit))
            published = r.claim.published["effect"]
            lines.append((r.claim.id, r.estimate.value / unit, low, high, None if published is None else published / unit, r.verdict.name))
        if lines:
            made.append(f"<h3>Section {escape(section)}</h3>{curves.forest(lines)}")
    title = f"<h2>{escape(report.scale)} scale: effects</h2>"
    note = (
        '<p class="dim">In units of each claim\'s margin; right is what the paper says, and for claims of no effect between the dashed lines; '
        "an arrow is further out than is drawn; the upright tick is the published effect.</p>"
    )
    return [title, note, *made] if made else []


def _browser(records: Records, samples: int) -> list[str]:
    """The sample browser: for each arm and benchmark blocks of JSON with ``BLOCK`` samples."""
    blocks, options = [], []
    for group, name, benchmark, rows in _samples(records, samples):
        own = []
        for first in range(0, len(rows), BLOCK):
            own.append(f"block-{len(blocks)}")
            # A response may hold "</script>"; with no < in it the block ends where it should.
            text = json.dumps(rows[first : first + BLOCK], ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
            blocks.append(f'<script type="application/json" id="{own[-1]}">{text}</script>')
        label = escape(f"{name}, {group}, {benchmark}")
        options.append(f'<option value="{" ".join(own)}" data-total="{len(rows)}">{label}</option>')
    if not blocks:
        return []
    return [
        f'<h2>Samples</h2><p class="dim">The first {samples} of each arm and benchmark, at the last step of its first seed.</p>',
        f'<label>Arm and benchmark <select id="pick">{"".join(options)}</select></label>',
        '<label>Show <select id="only"><option value="all">all</option><option value="wrong">wrong</option><option value="right">right</option>'
        "</select></label>",
        '<p id="seen" class="dim" role="status"></p><div id="samples"></div><button type="button" class="more" id="more" hidden>Show more</button>',
        *blocks,
    ]


def _samples(records: Records, most: int):
    """(stage, arm, benchmark, rows) of every configuration; the texts are read here and only here."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from repro.report.table import _label

    columns = ["stage", "step", "benchmark", "question_id", "correct", "tokens", "reason", "gold", "extracted", "response"]
    for group in sorted(records.groups.values(), key=lambda g: (g.scale, g.stage, g.key)):
        seed = min(group.evaluations[group.last])
        _, cell = group.evaluations[group.last][seed]
        at = [("stage", "=", group.stage), ("step", "=", group.last)]
        table = pq.read_table(cell.folder / "records.parquet", columns=columns, filters=at)
        for benchmark in table["benchmark"].unique().to_pylist():
            part = table.filter(pc.equal(table["benchmark"], benchmark)).slice(0, most).drop_columns(["stage", "step", "benchmark"])
            order = [part[name].to_pylist() for name in ("question_id", "correct", "tokens", "reason", "gold", "extracted", "response")]
            yield group.stage, _label(cell.facts, group.stage), benchmark, list(zip(*order, strict=True))
