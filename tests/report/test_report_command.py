"""The report command: its files agree with each other, the page stands alone and is well formed, refusals are one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from repro.claims import engine
from repro.report import curves
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
    claims = engine.load()
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
    assert rows["llama+sft-long+grpo+cosine", "rl @ 20"].endswith("*")
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
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in urls), urls
        assert not browser.get_log("browser")
    finally:
        browser.quit()
