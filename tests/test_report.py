"""The table: intervals against brute force, shared rows counted once, and a README that has not drifted."""

from __future__ import annotations

import math

import numpy as np

from repro.report import readme
from repro.report.table import question_interval, seed_interval


def test_readme_tables_are_those_of_the_results() -> None:
    text = readme.README.read_text()
    assert text == readme.render(text), "run `python -m repro.report.readme`"
    assert text.count("<!-- table:") == text.count("<!-- end -->") > 0


def test_seed_interval_is_students() -> None:
    mean, low, high = seed_interval([0.5, 0.6, 0.7])
    assert math.isclose(mean, 0.6) and math.isclose(high - mean, 4.302653 * 0.1 / math.sqrt(3), rel_tol=1e-5)
    assert math.isclose(mean - low, high - mean)
    assert seed_interval([0.9, 1.0])[2] == 1.0


def test_question_interval_covers_what_it_says() -> None:
    """Questions of different difficulty, 4 samples each: the interval holds the true mean in about 95 of 100 studies."""
    rng = np.random.default_rng(0)
    inside, studies, questions = 0, 1000, 64
    for _ in range(studies):
        difficulty = rng.beta(1, 1, questions)
        correct = (rng.random((4, questions)) < difficulty).astype(float)
        _, low, high = question_interval(correct.ravel(), np.tile(np.arange(questions), 4))
        inside += low <= 0.5 <= high
    assert 0.92 < inside / studies < 0.98


def test_question_interval_is_not_a_point_at_the_ends() -> None:
    for value in (0.0, 1.0):
        mean, low, high = question_interval(np.full(40, value), np.repeat(np.arange(10), 4))
        assert mean == value and 0.2 < high - low < 0.3  # Wilson at 0 of 10: 0 to 0.28


def test_a_new_marker_takes_no_other_text() -> None:
    old = "<!-- table: bench -->\nold\n<!-- end -->\n"
    made = readme.render(f"<!-- table: bases -->\nkept\n{old}after\n")
    assert "kept" in made and "after" in made and "old" not in made and made.count("<!-- end -->") == 2
    assert readme.render(made) == made


def test_figure_index_has_not_drifted() -> None:
    from repro.report import index

    assert {entry["experiment"] for entry in index.entries() if "experiment" in entry} == {p.stem for p in index.EXPERIMENTS.glob("*.yaml")}
    assert (index.RESULTS / "index.md").read_text() == index.markdown(), "run `python -m repro.report.readme`"


def test_what_is_taken_names_no_folder_of_a_machine(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    (tmp_path / "run").mkdir()
    line = "python -m repro hydra.mode=RUN seed=0"
    (tmp_path / "run" / "table.csv").write_text(f"arm,command,manifest\na,{line} paths.outputs=/mnt/x rl=ppo paths.store=/y,cell.json\n")
    readme.take("run", tmp_path / "run")
    assert (tmp_path / "run.csv").read_text() == f"arm,command,manifest\na,{line} rl=ppo,cell.json\n"
