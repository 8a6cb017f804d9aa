# SPDX-License-Identifier: Apache-2.0
"""A server that speaks as much of the Hugging Face Hub's HTTP API as huggingface_hub asks of it to fetch and to send a model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_owner"
ACCOUNT = "someone"


@dataclass
class Repository:
    """Files by path of each commit, and names of commits; the last commit is main."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        """Add files to what there is; the commit's hash."""
        whole = (next(reversed(self.commits.values())) if self.commits else {}) | files
        name = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()
        self.commits[name] = whole
        self.messages.append(message)
        return name

    def find(self, revision: str) -> str | None:
        if revision == "main" and self.commits:
            return next(reversed(self.commits))
        revision = self.tags.get(revision, revision)
        return revision if revision in self.commits else None


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: bytes | dict[str, Any] | list[Any], status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    @property
    def owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.server.requests.append(f"{self.command} /{'/'.join(path)}")
        api = path[:2] == ["api", "models"]
        name = "/".join(path[2:4] if api else path[:2])
        what, revision, *rest = [*(path[4:] if api else path[2:]), "", ""][: len(path) + 2]
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self.owner):
            return self.refuse(404 if self.owner else 401, "RepoNotFound")
        found = repository.find(revision or "main")
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        files = repository.commits[found]
        if api and what == "tree":
            oids = {place: hashlib.sha1(content).hexdigest() for place, content in files.items()}
            return self.answer([{"type": "file", "path": p, "size": len(c), "oid": oids[p]} for p, c in files.items()])
        if api:
            return self.answer({"id": name, "sha": found, "private": repository.private, "siblings": [{"rfilename": p} for p in files]})
        content = files.get("/".join(part for part in rest if part))
        if content is None:
            return self.refuse(404, "EntryNotFound")
        return self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=found)

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.server.requests.append(f"POST /{'/'.join(path)}")
        body = self.read()
        if path == ["api", "validate-yaml"]:
            return self.answer({"errors": [], "warnings": []})
        if not self.owner:
            return self.refuse(401, "Unauthorized")
        if path == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or ACCOUNT}/{asked['name']}"
            there = name in self.server.repositories
            self.server.repositories.setdefault(name, Repository(bool(asked.get("private")) or asked.get("visibility") == "private"))
            return self.answer({"url": f"{self.server.address}/{name}", "id": name}, 409 if there else 200)
        name = "/".join(path[2:4])
        if path[4] == "preupload":
            files = json.loads(body)["files"]
            return self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
        found = self.server.repositories[name].commit(files, lines[0]["value"]["summary"])
        return self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{found}", "commitOid": found, "success": True})
