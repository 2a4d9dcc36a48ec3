"""An OpenAI-compatible chat endpoint in a process of its own: the micro world's extractor and erring teacher, and faults on demand.

python -m tests.data.chat_server LOG [--delay SECONDS]      # prints its port; appends one line a request to LOG
"""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from repro.data.teacher import request_seed
from repro.data.web import PROSE, source_items, teacher_answer

ITEMS = {item.problem.prompt(): item for item in source_items("web", 400, 0)}


def reply(model: str, prompt: str, seed: int) -> str:
    if model == "extractor":
        solution = prompt.split("[Solution]\n")[1].split("\n", maxsplit=1)[0].removeprefix("The result: ")
        return f"The final answer is \\boxed{{{'' if solution in PROSE else solution}}}"
    problem = ITEMS[prompt.split("\n", maxsplit=1)[0]].problem
    sample = next(i for i in range(32) if request_seed(prompt, i, 0) == seed)
    return f"Some steps. So \\boxed{{{teacher_answer(problem, sample, 0)}}}"


class Handler(BaseHTTPRequestHandler):
    log: Path
    delay = 0.0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        time.sleep(self.delay)
        with open(self.log, "a") as file:
            file.write(json.dumps([body["model"], prompt, body.get("seed")]) + "\n")
        content = reply(body["model"], prompt, body.get("seed") or 0) if body["model"] != "garbage" else None
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(content or "")}  # characters: exact, so that sums can be checked
        data = json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    Handler.log, Handler.delay = options.log, options.delay
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
