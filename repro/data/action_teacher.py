"""The state machine of action prompting (``repro.data.actions``) as a teacher: many chains under way, their replies asked for together.

teacher = ActionTeacher(EndpointTeacher(ChatClient("http://localhost:8000/v1", "NAME")))
for completion in teacher.generate(["1 + 1?"], temperature=1.0, top_p=0.95, max_tokens=2048, seed=0): ...   # .log: the thoughts
"""

from __future__ import annotations

from collections.abc import Iterator

from repro.data.actions import LIMITS, STATES, VERSION, Limits, Thought, machine
from repro.data.teacher import Completion, Prompt, Teacher, user_text, wanted


class ActionTeacher:
    """A ``Teacher`` whose completions are chains of the machine. ``max_tokens`` is of one reply; token counts are sums over all replies.

    Args:
        model: answers all states. reflector: answers ``reflect`` (the paper: another model, o1-mini); None: ``model``.
        concurrency: chains under way; their replies are asked for together.
    """

    def __init__(self, model: Teacher, reflector: Teacher | None = None, limits: Limits = LIMITS, concurrency: int = 16) -> None:
        self.model, self.reflector, self.limits = model, reflector or model, limits
        self.concurrency = max(concurrency, getattr(getattr(model, "engine", None), "batch", 1))
        self.name = f"actions-{VERSION}({model.name})"

    def generate(self, prompts, n=1, *, temperature, top_p, max_tokens, seed, samples=None) -> Iterator[Completion]:
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        pending = wanted(len(prompts), n, samples)
        under_way: list[_Chain] = []
        while True:
            while len(under_way) < self.concurrency and (pair := next(pending, None)) is not None:
                under_way.append(_Chain(*pair, _question(prompts[pair[0]]), self.limits))
            if not under_way:
                return
            for teacher, states in ((self.model, set(STATES) - {"reflect"}), (self.reflector, {"reflect"})):
                chains = [chain for chain in under_way if chain.call.state in states and not chain.asked]
                asked = [chain.call.prompt for chain in chains]
                for reply in teacher.generate(asked, **sampling, samples=[[chain.sample] for chain in chains]) if chains else ():
                    chains[reply.prompt].take(reply)
                    if chains[reply.prompt].result is not None:
                        yield chains[reply.prompt].result
            under_way = [chain for chain in under_way if chain.result is None]
            for chain in under_way:
                chain.asked = False


class _Chain:
    """One machine under way. ``asked``: it had its reply of this round."""

    def __init__(self, prompt: int, sample: int, problem: str, limits: Limits) -> None:
        self.prompt, self.sample, self.asked = prompt, sample, False
        self.run = machine(problem, limits)
        self.call = next(self.run)
        self.replies: list[Completion] = []
        self.result: Completion | None = None

    def take(self, reply: Completion) -> None:
        self.replies.append(reply)
        self.asked = True
        try:
            self.call = self.run.send(reply.text)
        except StopIteration as end:
            self.result = self._completion(end.value)

    def _completion(self, thoughts: list[Thought]) -> Completion:
        log = []
        for thought, reply in zip(thoughts, self.replies, strict=True):
            tokens = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
            log.append({**vars(thought), **tokens, "finish_reason": reply.finish_reason})
        sums = [
            None if any(entry[kind] is None for entry in log) else sum(entry[kind] for entry in log)
            for kind in ("prompt_tokens", "completion_tokens")
        ]
        text = "\n\n".join(thought.shown for thought in thoughts if thought.shown)
        return Completion(self.prompt, self.sample, text, *sums, self.replies[-1].finish_reason, log)


def _question(prompt: Prompt) -> str:
    """What the user asks, without the instruction to box, which is the answer state's."""
    from repro.data.prompts import INSTRUCTION

    return user_text(prompt).removesuffix(INSTRUCTION).strip()
