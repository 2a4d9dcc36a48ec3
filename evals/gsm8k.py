r"""GSM8K (Cobbe et al. 2021): word problems of primary school with a whole number as the answer. A row of the file:

{"question": "A crate holds 24 pears. How many do 50 crates hold?", "answer": "50 crates hold 50*24 = <<50*24=1200>>1200.\n#### 1,200"}

-> the question as it is, reference 1200
"""

from __future__ import annotations

from evals.files import BenchmarkError
from evals.questions import ANSWER, IDS, PROBLEM, FileBenchmark, Question, Row, row_id, text

_COLUMNS = {"problem": PROBLEM, "answer": ANSWER, "id?": IDS}


def question(row: Row, index: int) -> Question:
    """Raises BenchmarkError for an answer without its mark."""
    answer = text(row["answer"])
    if "####" not in answer:
        raise BenchmarkError("no '#### ' before the answer")
    return Question(row_id(row, index), text(row["problem"]), answer.rsplit("####", 1)[1].strip().replace(",", ""), "math", "")


GSM8K = FileBenchmark(
    "gsm8k",
    "GSM8K",
    split="test",
    style="qwen_math",
    files=("gsm8k_test", "gsm8k"),
    columns=_COLUMNS,
    make=question,
    count=1_319,
    hub="openai/gsm8k",
    revision="cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
    configs=("main",),
    source="github.com/openai/grade-school-math",
)
ALL = (GSM8K,)
