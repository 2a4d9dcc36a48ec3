"""The judge: prompt and training pair, both parsers, verdicts, a real (tiny) model, and an endpoint that misbehaves."""

import json
import pickle
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from repro.verifiers.judge import (
    TEMPLATE,
    EndpointBackend,
    JudgeError,
    JudgeVerifier,
    TransformersBackend,
    judge_example,
    judge_prompt,
    parse_fixed,
    parse_legacy,
)
from repro.verifiers.verdict import GoldError


class Says:
    """A backend that says one thing and keeps what it was asked."""

    name = "says"

    def __init__(self, text):
        self.text, self.asked = text, []

    def complete(self, prompts):
        self.asked.extend(prompts)
        return [self.text] * len(prompts)

    def close(self):
        self.asked.append("closed")


@pytest.mark.parametrize(
    ("text", "fixed", "legacy"),
    [
        ("Both are 5.\nJudgement: correct", "correct", "correct"),
        ("Judgement: wrong", "wrong", "wrong"),
        ("Judgement: not_found", "not_found", "not_found"),
        ("judgement: correct.", "correct", "correct"),
        ("Judgement: Correct", "correct", "Correct"),  # D-14: found, but compared with its case
        ("Judgement: <correct>", "correct", None),
        ("**Judgement:** correct", "correct", None),
        ("Judgement: **correct**", "correct", None),
        ("`Judgement: correct`", "correct", "correct"),
        ("Judgment: correct", "correct", None),
        ("Judgement:correct", "correct", None),
        ("Judgement: correct\nNo, I misread.\nJudgement: wrong", "wrong", "correct"),  # the first line wins
        ("Judgement: correct, no: Judgement: wrong\nJudgement: correct", "correct", "wrong"),  # ... and on it, the last
        ("Judgement:\ncorrect", "correct", "correct"),
        ("Judgement: correctly answered: no", None, "correct"),
        ("Judgement: incorrect", "wrong", None),
        ("Judgement: not found", "not_found", None),
        ("I shall end with `Judgement: <correct/wrong/not_found>`.", None, None),
        ("Judgement: correct/wrong", None, "correct"),
        ("the response is correct", None, None),
        ("", None, None),
    ],
)
def test_parsers(text, fixed, legacy):
    assert parse_fixed(text) == fixed
    assert parse_legacy(text) == legacy
    for parser, label in (("fixed", fixed), ("legacy", legacy)):
        verdict = JudgeVerifier(Says(text), parser=parser).verify("5", "it is 5")
        assert verdict.correct is (label == "correct")
        assert verdict.judgement == text


def test_verdicts():
    judge = JudgeVerifier(Says("hm"))
    verdict = judge.verify("5", "so\nit is 5\n")
    assert (verdict.correct, verdict.extracted, verdict.rule, verdict.reason) == (False, None, "judge", "unparsable judgement")
    assert judge.unparsable == 1
    right = JudgeVerifier(Says("Judgement: correct")).verify("5", "so\nit is 5\n")
    assert (right.correct, right.extracted, right.rule, right.reason) == (True, "it is 5", "judge", "")
    missing = JudgeVerifier(Says("Judgement: not_found")).verify("5", "hm")
    assert (missing.extracted, missing.rule, missing.reason) == (None, "no answer", "judged not_found")
    assert pickle.loads(pickle.dumps(right)) == right


def test_what_is_sent():
    backend = Says("Judgement: correct")
    with JudgeVerifier(backend, last_lines=2) as judge:
        verdicts = judge.verify_batch(["5"] * 4, ["a\nb\n{c}\n", "a\nb\n{c}\n", " \n", "5"], truncated=[False, False, False, True])
    assert len(backend.asked) == 2 and backend.asked[-1] == "closed"  # equal prompts once; blank and cut outputs never
    assert "b\n{c}" in backend.asked[0] and "a\nb" not in backend.asked[0]
    assert [v.correct for v in verdicts] == [True, True, False, False]
    assert [v.reason for v in verdicts] == ["", "", "empty output", "truncated"]
    assert len(judge_prompt("5", "word " * 1_000_000)) < 20_000
    assert judge_prompt("5", "\n".join(map(str, range(100)))).count("\n") < 45


def test_training_pairs_come_from_the_same_prompt():
    backend = Says("Judgement: correct")
    JudgeVerifier(backend).verify("x^2", "I get x^2")
    prompt, completion = judge_example("x^2", "I get x^2", "correct", reasoning="Both say x^2.")
    assert prompt == backend.asked[0]
    for label in ("correct", "wrong", "not_found"):
        assert parse_fixed(judge_example("1", "2", label)[1]) == parse_legacy(judge_example("1", "2", label)[1]) == label
    assert completion == "Both say x^2.\nJudgement: correct"
    with pytest.raises(ValueError, match="choose one of correct, wrong, not_found"):
        judge_example("1", "1", "right")


def test_arguments_and_version():
    with pytest.raises(ValueError, match="choose one of fixed, legacy"):
        JudgeVerifier(Says(""), parser="old")
    with pytest.raises(ValueError, match="last_lines=0"):
        JudgeVerifier(Says(""), last_lines=0)
    with pytest.raises(ValueError, match="template needs"):
        JudgeVerifier(Says(""), template="{response}")
    with pytest.raises(GoldError, match="question q7"):
        JudgeVerifier(Says("")).check_gold(" ", question_id="q7")
    with pytest.raises(ValueError, match="one of each"):
        JudgeVerifier(Says("")).verify_batch(["1"], [])
    other = Says("")
    other.name = "another"
    versions = {JudgeVerifier(b, **k).version for b in (Says(""), other) for k in ({}, {"parser": "legacy"}, {"template": TEMPLATE + "!"})}
    assert len(versions) == 6


def test_a_model_in_this_process():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from repro.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 400}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    backend = TransformersBackend(model, tokenizer, batch_size=2, max_new_tokens=8, name="tiny")
    judge = JudgeVerifier(backend, template="{reference} : {response}")
    first = judge.verify_batch(["1", "2", "3"], ["x 1", "so x 2", "5"])
    alone = [judge.verify(gold, out) for gold, out in (("1", "x 1"), ("2", "so x 2"), ("3", "5"))]
    assert [v.judgement for v in first] == [v.judgement for v in alone]  # greedy: no batch, seed or order in it
    assert all(len(v.judgement.split()) <= 8 for v in first)
    with pytest.raises(ValueError, match="the context has 400"):
        judge.verify("1", "x " * 500)


class Server:
    """An endpoint that goes through a list of behaviours, one a request, and repeats the last."""

    def __init__(self, *behaviours):
        self.behaviours, self.bodies, self.keys = list(behaviours), [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.keys.append(self.headers.get("Authorization"))
                behaviour = outer.behaviours.pop(0) if len(outer.behaviours) > 1 else outer.behaviours[0]
                status, text = 200, json.dumps({"choices": [{"message": {"content": "Judgement: correct"}}]})
                if isinstance(behaviour, int):
                    status = behaviour
                elif behaviour == "slow":
                    time.sleep(1)
                elif behaviour == "drip":
                    text = " " * 20 + text
                elif behaviour != "ok":
                    text = behaviour
                try:
                    self.send_response(status)
                    self.end_headers()
                    for part in text if behaviour == "drip" else [text]:
                        self.wfile.write(part.encode())
                        if behaviour == "drip":
                            time.sleep(0.05)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def backend(url, **settings):
    return EndpointBackend(url, "m", **{"timeout": 0.2, "retries": 2, "backoff": 0.01, **settings})


@pytest.mark.parametrize(
    "trouble", ["slow", "drip", 500, 503, 429, "{not json", "[]", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}']
)
def test_trouble_is_retried(trouble):
    late = trouble in ("slow", "drip")
    with Server(trouble, "ok") as server:
        verdict = JudgeVerifier(backend(server.url, timeout=0.4 if late else 5, retries=5)).verify("5", "5")
        assert verdict.correct and verdict.judgement == "Judgement: correct"
        assert len(server.bodies) == 2 or (late and len(server.bodies) > 2)  # a busy machine may be late once more


@pytest.mark.parametrize(
    ("trouble", "said", "tries"),
    [
        ("slow", "no answer within 0.2 s", 3),
        ("drip", "no answer within 0.2 s", 3),
        (500, "HTTP 500", 3),
        (401, "refuses the request: HTTP 401", 1),
        ("<html>", "not a chat completion", 3),
    ],
)
def test_lasting_trouble_is_an_error_and_never_a_verdict(trouble, said, tries):
    with Server(trouble) as server:
        timeout = 0.2 if "0.2 s" in said else 5
        with pytest.raises(JudgeError, match=said) as raised:
            JudgeVerifier(backend(server.url, timeout=timeout)).verify("5", "5")
        assert server.url in str(raised.value)
        assert len(server.bodies) == tries


def test_unreachable_endpoint():
    with Server("ok") as server:
        url = server.url
    with pytest.raises(JudgeError, match=r"failed 3 times, last: .*refused"):
        JudgeVerifier(backend(url)).verify("5", "5")


def test_request_key_and_order(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY_FOR_TEST", "secret-1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used for an endpoint on this machine
    with Server("ok") as server:
        made = backend(server.url + "/", api_key_env="JUDGE_KEY_FOR_TEST", concurrency=3, timeout=5)
        texts = pickle.loads(pickle.dumps(made)).complete([f"p{i}" for i in range(7)])
        assert len(texts) == 7
        assert b"secret" not in pickle.dumps(made)
        assert set(server.keys) == {"Bearer secret-1"}
        assert sorted(body["messages"][0]["content"] for body in server.bodies) == [f"p{i}" for i in range(7)]
        assert {(body["temperature"], body["top_p"], body["max_tokens"], body["model"]) for body in server.bodies} == {(0, 1, 1024, "m")}


def test_one_failure_ends_the_batch():
    with Server(400) as server:
        with pytest.raises(JudgeError, match="HTTP 400"):
            backend(server.url, concurrency=2).complete([f"p{i}" for i in range(200)])
        assert len(server.bodies) < 50


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}, {"concurrency": 0}, {"api_key_env": "NO_SUCH_KEY_HERE"}]
)
def test_endpoint_arguments(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        backend("http://localhost:1/v1", **settings)
    with pytest.raises(ValueError, match="judge url"):
        EndpointBackend("localhost:8000", "m")
