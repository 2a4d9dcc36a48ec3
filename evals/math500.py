r"""MATH-500 and the full test set of MATH (Hendrycks et al. 2021; the 500 are those of Lightman et al. 2023). A row of the file:

    {"problem": "What is the sum of the roots of $2x^2 - 9x + 4 = 0$?", "solution": "By Vieta it is $\boxed{\frac{9}{2}}$.",
     "answer": "\\frac{9}{2}", "subject": "Algebra", "level": 2, "unique_id": "test/algebra/101.json"}

    -> the problem as it is, reference \frac{9}{2}, compared as mathematics; level 2, subject Algebra

MATH has no column ``answer``: the last box of the solution is the reference, which gives MATH-500's answers on all of its 500 questions.
"""

from __future__ import annotations

from evals.files import BenchmarkError
from evals.questions import ANSWER, IDS, PROBLEM, FileBenchmark, Question, Row, row_id, text

_OPTIONAL = {"id?": ("unique_id", *IDS), "level?": ("level",), "subject?": ("subject", "type")}
_WITH_ANSWER = {"problem": PROBLEM, "answer": ANSWER, **_OPTIONAL}
_WITH_SOLUTION = {"problem": PROBLEM, "solution": ("solution",), "answer?": ANSWER, **_OPTIONAL}
_SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus")


def question(row: Row, index: int) -> Question:
    """Raises BenchmarkError for a row with neither an answer nor a box in its solution."""
    gold = row["answer"]
    if gold is None and "solution" in row:
        from repro.verifiers.boxes import boxes

        found = boxes(text(row["solution"]))
        if not found:
            raise BenchmarkError("neither a column answer nor a \\boxed{} in the column solution")
        gold = found[-1][2]
    level = text(row["level"]).removeprefix("Level ")
    return Question(row_id(row, index), text(row["problem"]), text(gold), "math", level, text(row["subject"]))


MATH500 = FileBenchmark(
    "math500",
    "MATH-500",
    split="test",
    style="qwen_math",
    files=("math500_test", "math500"),
    columns=_WITH_ANSWER,
    make=question,
    count=500,
    hub="HuggingFaceH4/MATH-500",
    revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    source="github.com/openai/prm800k",
)
MATH = FileBenchmark(
    "math",
    "MATH",
    split="test",
    style="qwen_math",
    files=("math_test5000", "math"),
    columns=_WITH_SOLUTION,
    make=question,
    count=5_000,
    hub="EleutherAI/hendrycks_math",
    revision="21a5633873b6a120296cce3e2df9d5550074f4a3",
    configs=_SUBJECTS,
    source="github.com/microsoft/ToRA",
)
ALL = (MATH500, MATH)
