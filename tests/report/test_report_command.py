"""The report command: its files agree with each other, the page stands alone and is well formed, refusals are one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from repro.claims import declared
from repro.report import curves, readme
from repro.report.__main__ import main
from tests.report import study

VOID = {"meta", "link", "br", "rect", "line", "polyline", "polygon", "circle", "hr", "img", "input"}


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


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = study.pair(tmp_path_factory.mktemp("study"), 8.0)
    assert main([str(root / "sweeps"), "--out", str(root / "out"), "--samples", "7"]) == 0
    return root


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
    assert rows["llama+sft-long+ppo+cosine", "rl @ 20"].endswith("*")
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
    assert all(value == "data:," for value in page.loads)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    assert "prefers-color-scheme:dark" in text and "viewport" in text
    assert text.count('<th scope="col"><button type="button">') == sum(len(table[0]) for table in page.tables)


def test_samples_are_blocks_that_survive_markup(made: Path) -> None:
    page = Page((made / "out" / "report.html").read_text())
    blocks = [json.loads(text) for name, text in page.blocks.items() if name.startswith("block-")]
    assert len(blocks) == 4 and all(len(rows) == 7 for rows in blocks)
    assert blocks[0][0][-1] == "so <b>& \\boxed{ 1 }</script>"
    assert page.blocks["code"].count("JSON.parse") == 1, "parsed when chosen, not at start"


def test_charts_have_a_line_and_a_band_an_arm(made: Path) -> None:
    svg = (made / "out" / "curves" / "micro-made_up-accuracy.svg").read_text()
    assert svg.count("<polyline") == svg.count("<polygon") == 2 and "5 seeds" in svg
    alone = curves.chart("accuracy", "%", {"a<b": (np.arange(3.0), np.array([[1.0, 2.0, 3.0]]))})
    assert "<polygon" not in alone and "a&lt;b" in alone


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


def chromium(width: int, scheme: str):
    """Headless, as a window of that width and scheme; skips where Selenium, Chromium or its driver is absent (Debian: chromium-driver)."""
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    return browser


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_page_in_a_browser(made: Path, width: int, scheme: str) -> None:
    """No errors, no requests, nothing wider than the window, the reader's scheme, sorting from the keyboard, samples on demand."""
    browser = chromium(width, scheme)
    try:
        browser.get((made / "out" / "report.html").as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth && innerWidth") == width
        back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(int(n) for n in re.findall(r"\d+", back)[:3]) > 384) == (scheme == "light")
        button = browser.find_element("css selector", "table.sort th:nth-child(4) button")
        for _ in range(2):
            button.send_keys("\n")
        rows = "return [...document.querySelector('table.sort').tBodies[0].rows].map(r => parseFloat(r.cells[3].textContent))"
        cells = browser.execute_script(rows)
        assert len(cells) == 4 and cells == sorted(cells, reverse=True)
        assert "of 7 shown" in browser.find_element("id", "seen").text
        browser.execute_script("only.value = 'wrong'; only.dispatchEvent(new Event('change'))")
        answers = [box.text.split(":")[0] for box in browser.find_elements("css selector", ".sample > div")]
        assert answers and set(answers) == {"wrong"}
        assert "wrong ones shown, of 7 samples" in browser.find_element("id", "seen").text
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in urls), urls
        assert not browser.get_log("browser")
    finally:
        browser.quit()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_samples_do_not_freeze_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, choosing and turning pages each take a moment, wherever the wanted samples are."""
    monkeypatch.setattr(study, "QUESTIONS", 5000)
    monkeypatch.setattr(study.samples, "__defaults__", (5000, None))
    for reward, share in (("classic", 0.5), ("cosine", 0.999)):
        for length in (20, 40):
            study.write(tmp_path, study.config(reward, rl__steps=length, sft__name=f"long{length}"), {"sft": 0.5, "rl": share})
    assert main([str(tmp_path / "sweeps"), "--out", str(tmp_path / "out"), "--samples", "20000"]) == 0
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert sum(len(json.loads(text)) for name, text in page.blocks.items() if name.startswith("block-")) >= 100_000
    browser = chromium(1280, "light")
    try:
        start = time.perf_counter()
        browser.get((tmp_path / "out" / "report.html").as_uri())
        assert "25 of 20000 shown" in browser.find_element("id", "seen").text
        loaded = time.perf_counter() - start
        took = "const t = performance.now(); {} return performance.now() - t"
        change = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'));"
        options = [option.get_attribute("value") for option in browser.find_elements("css selector", "#pick option")]
        times = [browser.execute_script(took.format("more.click();"))]
        for value in options:
            times.append(browser.execute_script(took.format(change), browser.find_element("id", "pick"), value))
        times.append(browser.execute_script(took.format(change), browser.find_element("id", "only"), "wrong"))
        assert loaded < 10 and max(times) < 1000, (loaded, times)
        assert browser.execute_script("return document.querySelectorAll('.sample').length") <= 50
        print(
            f"loaded in {loaded:.2f} s, longest answer {max(times):.0f} ms, {(tmp_path / 'out' / 'report.html').stat().st_size / 2**20:.0f} MiB"
        )
    finally:
        browser.quit()


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
    drawn, silent = curves.charts({"accuracy": series, "truncated": {"a": (np.arange(3.0), np.zeros((2, 3)))}})
    assert list(drawn) == ["accuracy", "accuracy-2"] and silent == ["Truncated"]
    assert [svg.count('class="line') for svg in drawn.values()] == [16, 6]  # in the chart and in its legend


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
