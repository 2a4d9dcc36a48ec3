"""The report's page in headless Chromium: errors, requests, width, scheme, keyboard, samples. Skipped, visibly, where there is no Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from repro.report.__main__ import main
from tests.report import study
from tests.report.browser import chromium
from tests.report.test_report_command import Page


def opened(page: Path, width: int = 1280, scheme: str = "light"):
    """A browser with the page. Skips without Chromium."""
    browser = chromium(width, scheme)
    if browser is None:
        pytest.skip("no Selenium, Chromium or chromedriver")
    browser.get(page.as_uri())
    return browser


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_page_in_a_browser(made: Path, width: int, scheme: str) -> None:
    """No errors, no requests, nothing wider than the window, the reader's scheme, sorting from the keyboard, samples on demand."""
    browser = opened(made / "out" / "report.html", width, scheme)
    try:
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
        answers = [box.text for box in browser.find_elements("css selector", ".sample .v")]
        assert answers and set(answers) == {"wrong"}
        assert "shown (wrong), of 7 samples" in browser.find_element("id", "seen").text
        # A name as long as they come must not widen a phone's page.
        browser.execute_script("pick.options[0].text = 'llama+sft-long+'.repeat(9)")
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth && innerWidth") == width
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in urls), urls
        assert not browser.get_log("browser")
    finally:
        browser.quit()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_samples_are_parsed_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that nobody asked for stay text, and a page of samples stays short, wherever the wanted samples are."""
    monkeypatch.setattr(study, "QUESTIONS", 5000)
    monkeypatch.setattr(study.samples, "__defaults__", (5000, None))
    for reward, share in (("classic", 0.5), ("cosine", 0.999)):
        for length in (20, 40):
            study.write(tmp_path, study.config(reward, rl__steps=length, sft__name=f"long{length}"), {"sft": 0.5, "rl": share})
    assert main([str(tmp_path / "sweeps"), "--out", str(tmp_path / "out"), "--samples", "20000"]) == 0
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert sum(len(json.loads(text)) for name, text in page.blocks.items() if name.startswith("block-")) >= 100_000
    browser = opened(tmp_path / "out" / "report.html")
    try:
        browser.execute_script("window.parsed = 0; const parse = JSON.parse; JSON.parse = text => { window.parsed++; return parse(text); }")
        assert "25 of 20000 shown" in browser.find_element("id", "seen").text
        count, choose = "const n = window.parsed; window.parsed = 0; return n", "arguments[0].dispatchEvent(new Event('change'))"
        browser.execute_script("more.click()")
        assert browser.execute_script(count) == 0, "the first block holds the second page, too"
        pick, only = browser.find_element("id", "pick"), browser.find_element("id", "only")
        texts = [option.text for option in browser.find_elements("css selector", "#pick option")]
        for place in [*range(len(texts)), next(i for i, text in enumerate(texts) if "cosine" in text)]:
            browser.execute_script(f"pick.selectedIndex = {place}; {choose}", pick)
            assert browser.execute_script(count) == 1
        browser.execute_script(f"only.value = 'wrong'; {choose}", only)
        assert browser.execute_script(count) == 40, "one in a thousand is wrong: all forty blocks hold fewer than a page of them"
        assert browser.execute_script("return document.querySelectorAll('.sample').length") == 20
    finally:
        browser.quit()
