"""A local stand-in for the Weights & Biases service: what `wandb sync` and an online run talk to.

It keeps the history of a run as the service does: a chunk of the file stream carries the number of its first line, and lines
that are there already are overwritten. Files of tables are kept by name; artifacts are accepted and dropped.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = {"id": "e1", "name": "lab"}


@dataclass
class StoredRun:
    """A run as the service holds it."""

    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    finished: bool = False


class Service:
    """Answers the GraphQL operations and the file stream; ``runs`` holds what was uploaded."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.lock = threading.Lock()
        self.url = ""

    def graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"]).group(1)
        answer = getattr(self, f"on_{operation}", None)
        if answer is None:
            return {"errors": [{"message": f"{operation} is not part of the stand-in"}]}
        return {"data": answer(request.get("variables") or {})}

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u1", "entity": "lab", "username": "lab", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run, bucket = self.runs.get(given["name"]), None
        if run is not None:
            bucket = {
                "id": given["name"],
                "name": given["name"],
                "displayName": given["name"],
                "summaryMetrics": json.dumps(run.summary),
                "config": json.dumps(run.config),
                "historyLineCount": len(run.history),
                "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
                "eventsLineCount": 0,
                "eventsTail": "[]",
                "logLineCount": 0,
                "tags": [],
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": {"id": "p1", "name": given["project"], "entity": ENTITY, "bucket": bucket}}

    def on_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("name") or given["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun())
        if given.get("config"):
            run.config = json.loads(given["config"])
        bucket = {
            "id": name,
            "name": name,
            "displayName": given.get("displayName"),
            "description": None,
            "config": None,
            "sweepName": None,
            "project": {"id": "p1", "name": given.get("project"), "entity": ENTITY},
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def on_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def on_MarkRunFilesUploaded(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"markRunFilesUploaded": {"success": True}}

    def on_CreateArtifact(self, _: dict[str, Any]) -> dict[str, Any]:
        artifact = {"id": "a1", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        """Store one chunk of the file stream of run ``name``."""
        run = self.runs[name]
        run.finished = run.finished or body.get("complete") is True
        for file, chunk in (body.get("files") or {}).items():
            if file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
            elif file == "wandb-history.jsonl":
                for number, line in enumerate(chunk["content"], chunk["offset"]):
                    assert number <= len(run.history), f"line {number} leaves a gap"
                    run.history[number : number + 1] = [json.loads(line)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: Any) -> None:
        """Keep the test's output free of requests."""

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # the client ends without closing its connections
            super().handle()

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: dict[str, Any], code: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        body, parts = self._body(), self.path.strip("/").split("/")
        with self.service.lock:
            if parts[0] == "graphql":
                self._answer(self.service.graphql(json.loads(body)))
            elif parts[-1] == "file_stream":
                self.service.stream(parts[-2], json.loads(body))
                self._answer({"limits": {}})
            else:
                self._answer({}, 404)

    def do_PUT(self) -> None:
        body, (_, run, name) = self._body(), self.path.strip("/").split("/", 2)
        with self.service.lock:
            self.service.runs[run].files[name] = body
            self._answer({})


@contextmanager
def wandb_service() -> Iterator[Service]:
    """A running service; ``url`` is its address."""
    service = Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
