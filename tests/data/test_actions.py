"""Action prompting: every transition by a scripted model, limits, the log, and chains as a teacher's completions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.client import EndpointError
from repro.data.action_teacher import ActionTeacher
from repro.data.actions import STATES, Limits, machine
from repro.data.journal import Journal
from repro.data.prompts import INSTRUCTION
from repro.data.teacher import Completion

SAMPLING = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 64}
CLARIFY = "The sum.\nGoal: find x\nNext: decompose"
THREE = "thinking\n1. try A\n2. Alternatively, try B\n3. Alternatively, try C\nNext: solve"
STEP = "x = 2\nNext: reflect"
GOOD = "It fits.\nCurrent goal achieved: yes\nParent goal achieved: yes"
PART = "It fits.\nCurrent goal achieved: yes\nParent goal achieved: no"
BAD = "It does not.\nCurrent goal achieved: no\nParent goal achieved: no"
END = "So \\boxed{2}."
ANSWER = ("answer", END, "end", "model")

# (state asked, reply given, state that follows, why), to the end of the chain
SCRIPTS = {
    "straight": [
        ("clarify", CLARIFY, "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", GOOD, "answer", "model"),
        ANSWER,
    ],
    "a problem in one step": [
        ("clarify", "One step.\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", PART, "answer", "model"),
        ANSWER,
    ],
    "a problem in one step that went wrong is taken apart": [
        ("clarify", "**Next:** Solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", BAD, "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        ("solve", "It is 2.\nNext: answer", "answer", "model"),
        ANSWER,
    ],
    "nothing usable is said": [
        ("clarify", "???", "decompose", "default"),
        ("decompose", "1. try A", "solve", "default"),
        ("solve", "", "reflect", "default"),
        ("reflect", "hm", "decompose", "default"),
        ("decompose", "no idea", "answer", "default"),
        ANSWER,
    ],
    "a state that may not follow is not taken": [
        ("clarify", "Next: answer", "decompose", "default"),
        ("decompose", THREE.replace("solve", "reflect"), "solve", "default"),
        ("solve", "Next: clarify", "reflect", "default"),
        ("reflect", GOOD, "answer", "model"),
        ANSWER,
    ],
    "the last word counts": [
        ("clarify", "Next: solve\nNext: decompose", "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        ("solve", "Next: answer\nno\nNext: reflect", "reflect", "model"),
        ("reflect", BAD + "\n" + GOOD, "answer", "model"),
        ANSWER,
    ],
    "a step too big is taken apart, its goal reached, then the one above": [
        ("clarify", CLARIFY, "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        ("solve", "too much\nNext: decompose", "decompose", "model"),
        ("decompose", "1. half of A\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", GOOD, "decompose", "model"),  # A is reached with its half; of the root it was not asked
        ("decompose", "1. the rest\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", GOOD, "answer", "model"),
        ANSWER,
    ],
    "reached, its parent not": [
        ("clarify", CLARIFY, "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", PART, "decompose", "model"),
        ("decompose", "1. try D\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", GOOD, "answer", "model"),
        ANSWER,
    ],
    "missed: those proposed are tried, then new ones, then no more": [
        ("clarify", CLARIFY, "decompose", "model"),
        ("decompose", THREE, "solve", "model"),
        *[("solve", STEP, "reflect", "model"), ("reflect", BAD, "solve", "model")] * 2,
        ("solve", STEP, "reflect", "model"),
        ("reflect", BAD, "decompose", "model"),
        ("decompose", "1. try D\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", BAD, "answer", "attempts"),
        ANSWER,
    ],
    "what was tried is not tried again": [
        ("clarify", CLARIFY, "decompose", "model"),
        ("decompose", "1. try A\nNext: solve", "solve", "model"),
        ("solve", STEP, "reflect", "model"),
        ("reflect", BAD, "decompose", "model"),
        ("decompose", "1. Alternatively, TRY A!\nNext: solve", "answer", "default"),
        ANSWER,
    ],
}


def play(script, limits=Limits()):  # noqa: B008
    """(the calls, the log) of a scripted model; fails where the machine asks for another state."""
    run, calls = machine("Find x with x + x = 4.", limits), []
    call = next(run)
    for state, reply, *_ in script:
        assert call.state == state, f"{call.state} after {[c.state for c in calls]}"
        calls.append(call)
        try:
            call = run.send(reply)
        except StopIteration as end:
            assert len(calls) == len(script)
            return calls, end.value
    raise AssertionError(f"the machine wants {call.state}")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_transition(name: str) -> None:
    calls, log = play(SCRIPTS[name])
    assert [(t.state, t.reply, t.next, t.why) for t in log] == [(s, r.strip(), n, w) for s, r, n, w in SCRIPTS[name]]
    assert all("Find x with x + x = 4." in call.prompt and f"({call.state})" in call.prompt for call in calls)


def test_the_scripts_take_every_transition() -> None:
    taken = {(state, following) for script in SCRIPTS.values() for state, _, following, _ in script}
    wanted = {("clarify", "decompose"), ("clarify", "solve"), ("decompose", "solve"), ("decompose", "answer"), ("answer", "end")}
    wanted |= {("solve", following) for following in ("reflect", "decompose", "answer")}
    assert taken == wanted | {("reflect", following) for following in ("solve", "decompose", "answer")}


def test_what_the_chain_shows_and_the_prompts_say() -> None:
    alternative = BAD + "\nAlternatively, try E"
    script = [
        ("clarify", CLARIFY),
        ("decompose", THREE),
        ("solve", STEP),
        ("reflect", alternative),
        ("solve", "x = 3\nNext: answer"),
        ("answer", END),
    ]
    calls, log = play(script)
    assert [t.shown for t in log] == [
        "The sum.",
        "try A",
        "x = 2",
        "It does not.\n\nAlternatively, try E".replace("\n\n", "\n"),
        "x = 3",
        END,
    ]
    assert "Current goal: find x\n" in calls[1].prompt and "Current goal: try A\nIts" not in calls[1].prompt
    assert "Current goal: try A" in calls[2].prompt and "Current goal: Alternatively, try E" in calls[4].prompt
    assert "Its parent goal: find x" in calls[3].prompt and "thinking" not in calls[3].prompt and "thinking" in log[1].reply
    assert "Thoughts so far:\nThe sum.\n\ntry A\n\nx = 2" in calls[3].prompt


@pytest.mark.parametrize("steps", [2, 3, 5, 9])
def test_the_answer_is_forced_after_so_many_replies(steps: int) -> None:
    endless = [("clarify", CLARIFY), ("decompose", "1. try A\nNext: solve"), ("solve", STEP), ("reflect", PART)]
    script, i = [], 0
    while len(script) < steps - 1:
        script.append(endless[i] if i < 4 else (endless[1 + (i - 1) % 3][0], endless[1 + (i - 1) % 3][1].replace("try A", f"try {i}")))
        i += 1
    _, log = play([*script, ("answer", END)], Limits(steps=steps))
    assert len(log) == steps and log[-2].next == "answer" and log[-2].why in ("steps", "model") and log[-1].state == "answer"


def test_goals_below_goals_end_at_the_depth() -> None:
    down = [("decompose", "1. part {}\nNext: solve"), ("solve", "Next: decompose")]
    script = [("clarify", CLARIFY)] + [(s, r.format(d)) for d in range(2) for s, r in down]
    _, log = play([*script, ("reflect", GOOD), ("decompose", "no"), ("answer", END)], Limits(depth=2))
    assert [(t.next, t.why) for t in log][4] == ("reflect", "depth")


LINES = [
    *CLARIFY.split("\n"),
    *THREE.split("\n"),
    *BAD.split("\n"),
    *GOOD.split("\n"),
    "Next: reflect",
    "Next: solve",
    "Next: answer",
    "Next:",
]
LINES += ["Alternatively, try F", "4. x", "", "\\boxed{1}", "{goal}", "Next: decompose"]
ALLOWED = {"clarify": {"decompose", "solve", "answer"}, "decompose": {"decompose", "solve", "answer"}}
ALLOWED |= {"solve": {"reflect", "decompose", "answer"}, "reflect": {"solve", "decompose", "answer"}, "answer": {"end"}}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(LINES) | st.text(max_size=8), max_size=6), max_size=40),
    st.integers(2, 30),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_whatever_is_said_the_chain_ends_with_an_answer(replies, steps, attempts, depth) -> None:
    run, said = machine("P {x}", Limits(steps, attempts, depth)), iter(replies)
    call, asked = next(run), []
    with pytest.raises(StopIteration) as end:
        while True:
            asked.append(call.state)
            call = run.send("\n".join(next(said, ["?"])))
    log = end.value.value
    assert [t.state for t in log] == asked and 2 <= len(log) <= steps and asked[0] == "clarify"
    assert asked[-1] == "answer" and asked.count("answer") == 1 and set(asked) <= set(STATES)
    for thought, after in zip(log, [*asked[1:], "end"], strict=True):
        assert thought.next == after and after in ALLOWED[thought.state]
        assert thought.why in ("model", "default", "attempts", "depth", "steps")


class Scripted:
    """A model that plays the straight script and counts; tokens are characters."""

    def __init__(self, name: str = "m", fail_after: int | None = None) -> None:
        self.name, self.states, self.fail_after = name, [], fail_after
        self.widest = 0

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None):
        self.widest = max(self.widest, len(prompts))
        replies = {state: reply for state, reply, *_ in SCRIPTS["straight"]}
        for index, prompt in enumerate(prompts):
            state = prompt.split("Your task now (")[1].split(")")[0]
            if self.fail_after is not None and len(self.states) >= self.fail_after:
                raise EndpointError("down")
            self.states.append(state)
            (sample,) = samples[index]
            yield Completion(index, sample, replies[state], len(prompt), len(replies[state]), "stop")


def test_chains_are_completions_with_their_log_and_exact_tokens() -> None:
    model, reflector = Scripted(), Scripted("r")
    teacher = ActionTeacher(model, reflector, concurrency=3)
    found = {(c.prompt, c.sample): c for c in teacher.generate([f"A?\n{INSTRUCTION}", "B?"], 3, **SAMPLING, seed=0)}
    assert set(found) == {(p, s) for p in range(2) for s in range(3)} and model.widest == 3
    assert set(reflector.states) == {"reflect"} and "reflect" not in model.states and len(reflector.states) == 6
    chain = found[0, 2]
    assert [entry["state"] for entry in chain.log] == [s for s, *_ in SCRIPTS["straight"]]
    assert chain.completion_tokens == sum(len(r) for _, r, *_ in SCRIPTS["straight"]) == sum(e["completion_tokens"] for e in chain.log)
    assert chain.prompt_tokens == sum(e["prompt_tokens"] for e in chain.log)
    assert chain.text == "The sum.\n\ntry A\n\nx = 2\n\nIt fits.\n\nSo \\boxed{2}." and chain.finish_reason == "stop"


def test_a_chain_is_kept_whole_or_asked_for_again(tmp_path) -> None:
    prompts = ["A?", "B?", "C?"]
    with Journal(tmp_path / "j.jsonl") as journal:
        first = ActionTeacher(Scripted(fail_after=12), concurrency=1)
        with pytest.raises(EndpointError):
            journal.ask(first, prompts, 1, SAMPLING, 0)
        assert len(journal.places) == 2
        model = Scripted()
        journal.ask(ActionTeacher(model, concurrency=1), prompts, 1, SAMPLING, 0)
        assert len(model.states) == 5 and len(journal.places) == 3
        log = journal.read(first.name, "C?", 0, SAMPLING, 0).log
    assert [entry["state"] for entry in log] == [s for s, *_ in SCRIPTS["straight"]]
