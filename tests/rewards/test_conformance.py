"""The conformance tables say what the text below them says, and any reward can be drawn."""

import pytest

from repro.rewards import conformance
from tests.conftest import ROOT


def test_cosine_table():
    header, *rows = conformance.cosine_table(14336)
    assert header[2:] == ["paper", "TRL", "TRL, paper's values", "open-r1", "open-r1, paper's values"]
    values = {(int(row[0]), row[1]): [float(cell) for cell in row[2:]] for row in rows}
    for (length, answer), (paper, trl, trl_paper, _, open_r1_paper) in values.items():
        if length < 14320:
            assert paper == trl_paper
        else:
            assert paper == -10
            assert trl_paper == (1 if answer == "correct" else 0)
        assert -1 <= trl <= 1
        assert -10 <= open_r1_paper <= 2
    assert values[7168, "correct"] == [1.5, 0.75, 1.5, 0.6214, 2.0]
    assert values[7168, "wrong"] == [-5.0, -0.75, -5.0, -0.6214, -10.0]


def test_open_r1_climbs_back_beyond_its_limit():
    assert conformance.open_r1_cosine(0, True) == conformance.open_r1_cosine(2000, True) == 1
    assert conformance.open_r1_cosine(1000, True) == 0.5
    assert conformance.open_r1_cosine(0, False) == -1


def test_repetition_table():
    header, *rows = conformance.repetition_table()
    table = {row[0]: [float(cell) for cell in row[1:]] for row in rows}
    tokens, penalised, total, start, helper, trl, open_r1 = range(7)
    assert len(header) == 8
    assert table["200 words, no repeat"][penalised:] == [0] * 6
    short = table["a phrase of 10 words, 3 times"]
    assert short[penalised] == short[helper] == 0
    assert short[trl] < 0
    twice = table["a phrase of 60 words, twice"]
    assert (twice[penalised], twice[total]) == (60, -3)
    assert -3 < twice[start] < 0
    case = table["the same, other case"]
    assert case[penalised] == case[trl] == 0
    assert case[open_r1] < 0
    spaceless = table["no spaces, all repetition"]
    assert spaceless[penalised] == spaceless[tokens] - 6
    assert spaceless[helper] == spaceless[open_r1] == 0
    assert spaceless[trl] < -0.9


def test_command_prints_both_tables(capsys):
    assert conformance.main(["--max-length", "2048"]) == 0
    printed = capsys.readouterr().out
    assert "# Cosine reward, max_length 2048" in printed
    assert "# Repetition penalty" in printed
    assert printed.count("Where they part") == 2
    assert "-0.0000" not in printed


@pytest.mark.parametrize("reward", sorted(p.stem for p in (ROOT / "conf" / "reward").glob("*.yaml")))
def test_every_reward_choice_can_be_drawn(reward, tmp_path):
    path = tmp_path / "surface.png"
    own = ["reward.custom.path=tests.test_parts.lengths"] if reward.endswith("custom") else []
    assert conformance.main(["--plot", str(path), f"reward={reward}", *own]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "x.png", "reward=cosin"], "reward=cosin does not exist (did you mean cosine?)"),
        (["--plot", "x.png", "reward=cosine", "reward.cosine.r0=1"], "r0"),
        (["--plot", "x.png", "reward=cosine", "reward.cosine.r0_correct=a"], "reward.cosine.r0_correct"),
        (["--plot", "x.png", "reward=cosine", "reward.cosine.r0_wrong=1"], "r0_wrong=1.0: must be at most 0"),
        (["--plot", "no/such/folder/x.png"], "No such file"),
        (["--max-length", "10"], "must be at least 64"),
        (["reward=cosine"], "--plot"),
    ],
)
def test_refusals_are_one_line(arguments, message, capsys):
    assert conformance.main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
