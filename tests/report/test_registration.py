"""Which claims count as declared before their records, by the history of their files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from repro.claims import declared
from tests.report import study


def test_a_claim_is_exploratory_unless_the_records_code_held_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def state(commits: list[str]) -> declared.Registration:
        declared._git.cache_clear()
        return declared.registration(path, commits)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "before")
    before = git("rev-parse", "HEAD")
    path = study.claim(tmp_path / "claims")
    assert state([before]).hash == "uncommitted"
    git("add", ".")
    git("commit", "-q", "-m", "claim")
    held = git("rev-parse", "HEAD")
    assert state([held]) == declared.Registration(git("log", "-1", "--format=%h"), "")
    assert "did not hold the claim yet" in state([before]).exploratory
    assert "not in this repository" in state(["f" * 40]).exploratory
    assert "uncommitted changes" in declared.registration(path, [held], dirty=[held]).exploratory
    path.write_text("# a comment\n" + path.read_text())
    git("commit", "-qam", "comment")
    assert not state([held]).exploratory
    path.write_text(path.read_text().replace("margin: 3.0", "margin: 1.0"))
    git("commit", "-qam", "edit")
    assert "edited after" in state([held]).exploratory
