r"""OlympiadBench (He et al. 2024), its English mathematics without pictures and with answers that can be compared. A row of the file:

    {"id": 9001, "context": "Let $x > 0$.", "question": "Find all $x$ with $x^4 - 5x^2 + 4 = 0$.", "final_answer": ["$1$", "$2$"],
     "subfield": "Algebra"}

    -> Let $x > 0$.
       Find all $x$ with $x^4 - 5x^2 + 4 = 0$.          reference $1$, $2$: one list, in any order

Units stay out of the reference. GitHub's copy has 675 such questions; the hub's has 674, which is said when it is read.
"""

from __future__ import annotations

from evals.questions import FileBenchmark, Question, Row, row_id, text

_COLUMNS = {"problem": ("question",), "answer": ("final_answer",), "id?": ("id",), "subject?": ("subfield",), "context?": ("context",)}


def question(row: Row, index: int) -> Question:
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    problem = "\n".join(part for part in (text(row["context"]), text(row["problem"])) if part)
    return Question(row_id(row, index), problem, ", ".join(map(text, answers)), "math", "", text(row["subject"]))


OLYMPIADBENCH = FileBenchmark(
    "olympiadbench",
    "OlympiadBench",
    split="train",
    style="qwen_math",
    files=("olympiadbench_en_text", "olympiadbench"),
    columns=_COLUMNS,
    make=question,
    count=675,
    hub="Hothan/OlympiadBench",
    revision="91184b52131e7fc9455fef848035173aea8cc01a",
    configs=("OE_TO_maths_en_COMP",),
    source="github.com/OpenBMB/OlympiadBench",
)
ALL = (OLYMPIADBENCH,)
