"""A hub on the loopback device: the answers of the real one to the requests the package makes."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest

from ttt_data.hub import transfer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """What the hub holds, how it misbehaves, and what it was asked."""

    repo: str = "owner/stories"
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main", COMMIT)
    files: dict[str, bytes] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)
    """Files whose hash the hub does not know."""
    listed: dict[str, bytes] = field(default_factory=dict)
    """Content that the listing describes, where it differs from what is sent."""
    die_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next downloads breaks off."""
    answers: list[int] = field(default_factory=list)
    """Status codes of the next downloads."""
    ignores_ranges: bool = False
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def listing(self) -> dict[str, object]:
        siblings = []
        for path, sent in self.files.items():
            content = self.listed.get(path, sent)
            sibling: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": "b"}
            if path not in self.small:
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": self.repo, "sha": self.commit, "siblings": siblings}


class Handler(BaseHTTPRequestHandler):
    hub: ClassVar[FakeHub]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{path} {self.headers.get('Range', '')}".strip())
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/revision/(.+)", path):
            self.answer_listing(match[1], match[2])
        elif match := re.fullmatch(rf"/datasets/{self.hub.repo}/resolve/{COMMIT}/(.+)", path):
            self.send_response(302)
            self.send_header("Location", f"/content/{match[1]}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif match := re.fullmatch(rf"/{self.hub.repo}/resolve/main/(.+)", path):
            self.answer_model_file(match[1])
        elif "/resolve/" in path and not path.startswith("/datasets/"):
            self.refuse(401, "RepoNotFound")
        elif path.startswith("/content/"):
            self.answer_content(path.removeprefix("/content/"))
        else:
            self.refuse(404, "EntryNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer_model_file(self, name: str) -> None:
        """Answer for a file of a model repository, which holds the same files."""
        content = self.hub.files.get(name)
        if content is None:
            self.refuse(404, "EntryNotFound")
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer_listing(self, repo: str, revision: str) -> None:
        if repo != self.hub.repo:
            self.refuse(401, "RepoNotFound")
        elif revision not in self.hub.revisions:
            self.refuse(404, "RevisionNotFound")
        else:
            body = json.dumps(self.hub.listing()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def answer_content(self, name: str) -> None:
        if self.hub.answers and (status := self.hub.answers.pop(0)) != 200:
            self.refuse(status, "Refused")
            return
        content = self.hub.files[name]
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and not self.hub.ignores_ranges:
            start = int(match[1])
            if start >= len(content):
                self.refuse(416, "RangeNotSatisfiable")
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.hub.die_after.pop(0)] if self.hub.die_after else body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A running hub, empty caches, and no patience."""
    fake = FakeHub()
    handler = type("BoundHandler", (Handler,), {"hub": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    fake.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", fake.endpoint)
    monkeypatch.setenv("TTT_HOME", str(tmp_path / "ttt-home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "library-cache"))
    monkeypatch.setattr(transfer, "RETRY_WAIT_S", 0.0)
    monkeypatch.setattr(transfer, "BLOCK_BYTES", 64)
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()
