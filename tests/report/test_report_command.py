"""The report command: its files agree with each other, the page stands alone and is well formed, refusals are one line."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from repro.claims import declared
from repro.report import curves, readme, samples
from repro.report.__main__ import main
from tests.report import study

VOID = {"wbr", "meta", "link", "br", "rect", "line", "polygon", "circle", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks nesting; keeps the tables, the scripts by id, and every attribute that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.blocks: dict[str, str] = {}
        self.loads: list[str] = []
        self.block = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes) -> None:
        found = dict(attributes)
        self.loads += [value for key, value in attributes if key in ("src", "href", "srcset", "action", "data")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "script":
            self.block = found.get("id", "code")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"
        if tag == "script":
            self.block = ""

    def handle_data(self, data: str) -> None:
        if self.block:
            self.blocks[self.block] = self.blocks.get(self.block, "") + data
        elif "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def test_every_claim_is_in_every_output(made: Path) -> None:
    claims = declared.load()
    page = Page((made / "out" / "report.html").read_text())
    assert not page.open
    board, tested, untested, spread = page.tables
    table = [*tested, *untested[1:]]
    assert len(board) == len(spread) == 5 and len(table) == len(claims) + 1  # a heading each; base, SFT and two RL arms
    with (made / "out" / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    shown = [row[0] for row in table[1:]]
    text = (made / "out" / "report.md").read_text()
    for claim in claims:
        assert any(cell.startswith(claim.id) and claim.statement in cell for cell in shown)
        assert f"**{claim.id}** {claim.statement}" in text
    assert [row["claim"] for row in rows] == [claim.id for claim in claims]
    h42d = next(row for row in rows if row["claim"] == "H4.2d")
    assert h42d["verdict"] == "at proxy scale: reproduced" and h42d["seeds"] == "5" and float(h42d["p (Holm)"]) < 0.05
    missing = next(row for row in rows if row["claim"] == "H7.3a")
    assert missing["verdict"] == "not tested" and "no records of" in missing["reason"]


def test_tied_best_set_is_marked(made: Path) -> None:
    with (made / "out" / "leaderboard.csv").open() as file:
        rows = {(row["arm"], row["stage"]): row["MATH"] for row in csv.DictReader(file)}
    best = rows["llama+sft-long+ppo+cosine", "rl @ 20"]
    assert best.endswith("*") and f"**{best[:-2]}** \\*" in (made / "out" / "report.md").read_text()
    assert not any(value.endswith("*") for (arm, _), value in rows.items() if "cosine" not in arm)


def test_arms_that_seeds_cannot_tell_apart_are_both_marked(tmp_path: Path) -> None:
    study.pair(tmp_path, 0.2, spread=2.0)
    assert main([str(tmp_path / "sweeps"), "--samples", "0"]) == 0
    with (tmp_path / "sweeps" / "report" / "leaderboard.csv").open() as file:
        assert [row["MATH"].endswith("*") for row in csv.DictReader(file)] == [False, False, True, True]
    assert "block-0" not in (tmp_path / "sweeps" / "report" / "report.html").read_text()


def test_the_page_loads_nothing(made: Path) -> None:
    text = (made / "out" / "report.html").read_text()
    page = Page(text)
    assert all(value == "data:," or value.startswith("#") for value in page.loads)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    assert "prefers-color-scheme:dark" in text and "viewport" in text
    assert text.count('<th scope="col"><button type="button">') == sum(len(table[0]) for table in page.tables)


def test_samples_are_blocks_that_survive_markup(made: Path) -> None:
    page = Page((made / "out" / "report.html").read_text())
    blocks = [json.loads(text) for name, text in page.blocks.items() if name.startswith("block-")]
    assert len(blocks) == 4 and all(len(rows) == 7 for rows in blocks)
    assert blocks[0][0][-1] == "so <b>& \\boxed{ 1 }</script>"
    assert page.blocks["code"].count("JSON.parse") == 1, "parsed when chosen, not at start"


def test_long_responses_keep_their_ends() -> None:
    text = "a" * 30_000 + "the answer"
    short = samples.shortened(text)
    assert len(short) < 6_100 and short.startswith("aaa") and short.endswith("the answer") and "24,010 characters left out" in short
    assert samples.shortened("short") == "short"


def test_names_are_text_wherever_they_come_from(tmp_path: Path) -> None:
    """A model, an experiment, a command and a reason that are markup stay text."""
    evil = "<img src=x onerror=alert(1)>"
    study.pair(tmp_path, 8.0, experiment_name=f"e{evil}", model__name=f"m{evil}", sft__name="long")
    study.pair(tmp_path, 2.0, experiment_name=f"e{evil}", model__name=f"m{evil}", sft__name=f"s{evil}")
    assert main([str(tmp_path / "sweeps"), "--out", str(tmp_path / "out"), "--claims", str(study.claim(tmp_path / "claims").parent)]) == 0
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert not page.open and all(value == "data:," or value.startswith("#") for value in page.loads)
    assert "<img" not in text.replace("\\u003c", "&lt;")


def test_charts_have_a_line_and_a_band_an_arm(made: Path) -> None:
    svg = (made / "out" / "curves" / "micro-made_up-accuracy.svg").read_text()
    assert svg.count("<polyline") == svg.count("<polygon") == 2 and "5 seeds" in svg
    one = {"a<b": (np.arange(3.0), np.array([[1.0, 2.0, 3.0]]))}
    alone = curves.chart("accuracy", "%", one, alone=True)
    assert "<polygon" not in alone and alone.count("a&lt;b") == 2  # the line's title and the legend
    assert "a&lt;b, 1 seed" in curves.legend({"accuracy": one})


def test_an_arm_has_one_colour_in_all_charts() -> None:
    line = (np.arange(3.0), np.ones((2, 3)))
    drawn, _ = curves.charts({"accuracy": {"a": line, "b": line, "c": line}, "kl": {"c": line}})
    (colour,) = re.findall(r'class="line (s\d)"', drawn["kl"])
    assert re.findall(r'class="line (s\d)"', drawn["accuracy"]) == ["s0", "s1", colour]


def test_band_is_students() -> None:
    mean, low, high = curves.band(np.array([[50.0], [60.0], [70.0]]))
    assert mean[0] == 60 and high[0] - low[0] == pytest.approx(2 * 4.302653 * 10 / np.sqrt(3))


def test_refusals_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        line = capsys.readouterr().err
        assert line.startswith("repro.report: ") and line.count("\n") == 1
        return line

    assert "is no folder" in refused(str(tmp_path / "nowhere"))
    assert "no finished cell" in refused(str(tmp_path))
    study.pair(tmp_path, 8.0, seeds=2)
    (tmp_path / "file").write_text("")
    assert "choose another folder with --out" in refused(str(tmp_path / "sweeps"), "--out", str(tmp_path / "file"))
    study.claim(tmp_path / "claims", margin=-1)
    assert "margin" in refused(str(tmp_path / "sweeps"), "--claims", str(tmp_path / "claims"))
    (tmp_path / "claims" / "X1.yaml").unlink()
    assert "no claim file" in refused(str(tmp_path / "sweeps"), "--claims", str(tmp_path / "claims"))


def test_help_says_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "report.html" in text and "outputs/sweeps" in text


def test_curves_and_variance_are_tables_too(made: Path) -> None:
    with (made / "out" / "curves.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy" and row["arm"].endswith("cosine")]
    assert len(rows) == study.STEPS and {row["seeds"] for row in rows} == {"5"} and {row["experiment"] for row in rows} == {"made_up"}
    assert float(rows[0]["mean"]) == pytest.approx(30) and float(rows[-1]["low"]) < float(rows[-1]["mean"]) < float(rows[-1]["high"])
    with (made / "out" / "variance.csv").open() as file:
        found = {(row["arm"], row["source"]): row for row in csv.DictReader(file)}
    assert ("llama", "seed") not in found, "the base has no training seed"
    assert {source for arm, source in found if arm.endswith("cosine")} == {"seed", "question", "seed x question", "decoding"}
    shares = [float(row["share"]) for (arm, _), row in found.items() if arm.endswith("cosine")]
    assert sum(shares) == pytest.approx(1)


def test_arms_beyond_eight_are_on_a_second_chart() -> None:
    series = {f"arm {i}": (np.arange(3.0), np.full((2, 3), 1.0 + i)) for i in range(11)}
    drawn, silent = curves.charts({"accuracy": series, "truncated": {"arm 0": (np.arange(3.0), np.zeros((2, 3)))}})
    assert list(drawn) == ["accuracy", "accuracy-2"] and silent == ["Truncated"]
    assert [svg.count("<polyline") for svg in drawn.values()] == [8, 3]


def test_recorded_verdicts_of_several_verifiers_give_its_share(tmp_path: Path) -> None:
    study.pair(tmp_path, 8.0)
    lines = ["where,question_id,task,gold,rule,rule_extracted,legacy,legacy_extracted,stored,stored_extracted"]
    for path in sorted((tmp_path / "sweeps").rglob("records.parquet")):
        for number, right in enumerate(pq.read_table(path, columns=["correct"])["correct"].to_pylist(), 1):
            strict = right and number % 4 != 0  # finds every fourth wrong
            lines.append(f'"{path}, row {number}",q,math,1,{int(right)},1,{int(strict)},1,{int(right)},1')
    (tmp_path / "v.csv").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path / "sweeps"), "--samples", "0", "--verdicts", str(tmp_path / "v.csv")]) == 0
    with (tmp_path / "sweeps" / "report" / "variance.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["arm"].endswith("cosine")]
    assert {row["verifiers"] for row in rows} == {"2"} and {row["samples"] for row in rows} == {"4"}
    by = {row["source"]: float(row["share"]) for row in rows}
    # They part on a quarter of the right answers: too many for nothing, too few for half of the variance.
    assert 0.05 < by["verifier"] + by["verifier x decoding"] < 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [("where,rule,rule_extracted\n", "two or more verifiers"), ("where,a,a_extracted,b,b_extracted\nx,1,1,1,1\n", "no file and row")],
)
def test_bad_verdicts_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    study.pair(tmp_path, 8.0, seeds=2)
    (tmp_path / "v.csv").write_text(text)
    assert main([str(tmp_path / "sweeps"), "--verdicts", str(tmp_path / "v.csv")]) == 2
    assert message in capsys.readouterr().err
    assert main([str(tmp_path / "sweeps"), "--verdicts", str(tmp_path / "none.csv")]) == 2


def test_take_keeps_the_verdicts_and_writes_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, text = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    text.write_text("before\n<!-- table: claims -->\n<!-- end -->\n<!-- table: index -->\n<!-- end -->\nafter\n")
    monkeypatch.setattr(readme, "RESULTS", results)
    monkeypatch.setattr(readme, "README", text)
    study.pair(tmp_path, 8.0, experiment_name="reward_design")
    assert main([str(tmp_path / "sweeps"), "--take"]) == 0
    made = text.read_text()
    assert made.startswith("before") and made.endswith("after\n") and (results / "claims.csv").exists()
    claim = next(c for c in declared.load() if c.id == "H4.2d")
    (row,) = [line for line in made.splitlines() if line.startswith("| H4.2d (micro) |")]
    assert claim.statement in row and "at proxy scale: reproduced" in row
    assert "Not tested at micro scale:" in made and "| Fig. 5 | 4.2 |" in made and "run: claims 1 not reproduced, 2 reproduced" in made
    assert readme.render(made) == made
