"""A real HTTP server on this machine that can be told to misbehave."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FileServer:
    """What is served, how, and what was asked.

    Attributes:
        files: path -> content.
        tag: sent as ETag; empty for none.
        date: sent as Last-Modified; empty for none.
        ranges: whether Range is honoured.
        if_range: whether If-Range is honoured.
        chunked: send no Content-Length.
        cuts: bytes of body after which each of the next connections is cut.
        halves: path -> bytes after which its next connection is cut.
        statuses: what the next requests are refused with.
        content_range: sent instead of the true one.
        pace: seconds to wait before each 64 KiB.
        redirects: path -> address that it has moved to.
        refusals: path -> status and headers of each of its next answers; the last one stays.
        silent: paths that are never answered.
        extra: path -> headers sent with its content.
        requests: method-less log: path and headers.
        python: runs Python with this server as the hub.
        run: the same of `nnclip download`.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = '"1"'
    date: str = ""
    ranges: bool = True
    if_range: bool = True
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    halves: dict[str, int] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    content_range: str = ""
    pace: float = 0.0
    redirects: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    extra: dict[str, dict[str, str]] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    python: Any = None
    run: Any = None

    def asked(self, header: str) -> list[str | None]:
        """That header of every request so far."""
        return [headers.get(header) for _, headers in self.requests]


def handler_for(served: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            served.requests.append((self.path, dict(self.headers)))
            if served.statuses:
                return self.send_error(served.statuses.pop(0))
            if self.path in served.silent:
                served.over.wait(60)
                return None
            if self.path in served.redirects:
                return self.refuse(302, {"Location": served.redirects[self.path]})
            if refusals := served.refusals.get(self.path):
                return self.refuse(*(refusals.pop(0) if len(refusals) > 1 else refusals[0]))
            path = self.path if self.path in served.files else self.path.partition("?")[0]
            if path not in served.files:
                return self.refuse(404, {"X-Error-Code": "EntryNotFound"})
            content = served.files[path]
            start = self.start_of_range()
            if start >= len(content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_head(content, start)
            if self.command == "GET":
                self.send_body(content[start:])

        do_HEAD = do_GET  # noqa: N815

        def refuse(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def start_of_range(self) -> int:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            condition = self.headers.get("If-Range")
            same = condition in (None, served.tag, served.date) or not served.if_range
            return int(asked[1]) if asked and same and served.ranges else 0

        def send_head(self, content: bytes, start: int) -> None:
            self.send_response(206 if start else 200)
            if start:
                span = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", served.content_range or span)
            for name, value in served.extra.get(self.path, {}).items():
                self.send_header(name, value)
            if served.tag:
                self.send_header("ETag", served.tag)
            if served.date:
                self.send_header("Last-Modified", served.date)
            if served.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()

        def send_body(self, body: bytes) -> None:
            cut = served.cuts.pop(0) if served.cuts else served.halves.pop(self.path, None)
            try:
                for at in range(0, len(body[:cut]), 1 << 16):
                    time.sleep(served.pace)
                    block = body[:cut][at : at + (1 << 16)]
                    size = b"%x\r\n" % len(block) if served.chunked else b""
                    self.wfile.write(size + block + (b"\r\n" if served.chunked else b""))
                if served.chunked and cut is None:
                    self.wfile.write(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client had enough
            self.close_connection = cut is not None or self.headers.get("Connection") == "close"

    return Handler


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A running server; its `url` has no slash at the end."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = FileServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state
    state.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def publish(served: FileServer, name: str, files: dict[str, bytes], commit: str = COMMIT) -> None:
    """Publish a repository as the hub does: its listing, its tree, and each file by revision."""
    siblings, tree = [], []
    for file, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        for revision in ("main", commit):
            path = f"/{name}/resolve/{revision}/{file}"
            served.files[path] = content
            served.extra[path] = {"X-Repo-Commit": commit, "ETag": f'"{digest}"'}
        siblings.append({"rfilename": file, "size": len(content), "blobId": digest[:40]})
        tree.append({"type": "file", "path": file, "size": len(content), "oid": digest[:40]})
    about = json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode()
    for path in ("", "/revision/main", f"/revision/{commit}"):
        served.files[f"/api/models/{name}{path}"] = about
    for revision in ("main", commit):
        served.files[f"/api/models/{name}/tree/{revision}"] = json.dumps(tree).encode()


@pytest.fixture
def hub(served: FileServer, tmp_path: Path) -> FileServer:
    """The server as the hub, for processes of their own: its library reads its variables once."""
    served.tag = ""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "NNCLIP_"))},
        "HF_ENDPOINT": served.url,
        "HF_HOME": str(tmp_path / "hub"),
        "NNCLIP_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def python(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            capture_output=True,
            text=True,
            env={**environment, **more},
            timeout=120,
        )

    served.python = python
    served.run = lambda *words, **more: python("-m", "nnclip", "download", *words, **more)
    return served


@pytest.fixture(scope="session")
def open_clip_files() -> dict[str, bytes]:
    """A small model as timm's repositories hold one: open_clip's file, and another beside it."""
    from clip.model import CLIP
    from safetensors.torch import save

    model = CLIP(16, 32, 1, 64, 12, 8, 49408, 64, 1, 1)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    told = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 12},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1},
    }
    settings = json.dumps({"model_cfg": told, "preprocess_cfg": {}}).encode()
    return {
        "open_clip_model.safetensors": save(tensors),
        "open_clip_config.json": settings,
        "model.safetensors": save({"head.weight": tensors["text_projection"]}),
        "config.json": b'{"architecture": "vit"}',
        "README.md": b"---\nlicense: mit\nlanguage:\n- en\n- no\n---\n# A model\n",
    }
