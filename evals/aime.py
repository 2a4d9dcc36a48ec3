r"""Competitions with a number as the answer: AIME 2024, AIME 2025 and AMC 2023 (the 40 questions that Qwen2.5-Math scores). A row of the file:

    {"id": "aime24-30", "problem": "Let $N$ be the number of ways to tile a $3\times 8$ board ... the remainder when $N$ is divided by $1000$.",
     "answer": "073"}

    -> the problem as it is, reference 073, compared as mathematics, so 73 is right

AIME's answers are integers from 0 to 999. One of 30 questions is 3.3 points, hence the paper's 16 samples each.
"""

from __future__ import annotations

from evals.questions import ANSWER, IDS, PROBLEM, FileBenchmark, Question, Row, row_id, text

_COLUMNS = {"problem": PROBLEM, "answer": ANSWER, "id?": IDS}


def question(row: Row, index: int) -> Question:
    """27.0 is 27: some files store answers as floats."""
    return Question(row_id(row, index), text(row["problem"]), text(row["answer"]).removesuffix(".0"), "math", "")


AIME2024 = FileBenchmark(
    "aime2024",
    "AIME 2024",
    split="train",
    style="qwen_math",
    files=("aime2024",),
    columns=_COLUMNS,
    make=question,
    count=30,
    hub="Maxwell-Jia/AIME_2024",
    revision="8d88b2876a82a080e2f172cc9b25d0d9d2cb4792",
    source="github.com/QwenLM/QwQ",
)
AIME2025 = FileBenchmark(
    "aime2025",
    "AIME 2025",
    split="test",
    style="qwen_math",
    files=("aime2025",),
    columns=_COLUMNS,
    make=question,
    count=30,
    hub="math-ai/aime25",
    revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
    source="github.com/QwenLM/QwQ",
)
AMC23 = FileBenchmark(
    "amc23",
    "AMC 2023",
    split="test",
    style="qwen_math",
    files=("amc23",),
    columns=_COLUMNS,
    make=question,
    count=40,
    hub="math-ai/amc23",
    revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
    source="github.com/QwenLM/Qwen2.5-Math",
)
ALL = (AIME2024, AIME2025, AMC23)
