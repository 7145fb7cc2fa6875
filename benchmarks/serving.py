"""Servers of embeddings in processes of their own, all asked in the same way."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

PATIENCE = 300  # seconds
HERE = Path(__file__).resolve().parent


class Server:
    """A server that takes infinity's requests, which nnclip takes too.

    Attributes:
        name: whose it is.
        most: images that it takes in a request.
        process: in which it runs.
        port: on which it listens.
        ready_seconds: from its start to its first answer.
    """

    most = 2048

    def __init__(self, name: str, command: list[str], port: int, **environment: str) -> None:
        self.name, self.port = name, port
        self._own = threading.local()
        start = time.perf_counter()
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
        )
        while not self._answers():
            if self.process.poll() is not None or time.perf_counter() - start > PATIENCE:
                self.close()
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.03)
        self.ready_seconds = time.perf_counter() - start

    def embed(self, modality: str, inputs: list[str], again: bool = True) -> np.ndarray:
        """Embeddings (N, E) float32, sent in base64.

        Args:
            modality: "text" or "image".
            inputs: texts, or data: URIs.
            again: ask once more where the server had closed the idle connection; else OSError.
        """
        asked = {"model": "model", "modality": modality, "input": inputs}
        body = json.dumps({**asked, "encoding_format": "base64"})
        try:
            answer, content = self._post(body)
        except ConnectionError:  # http.client's RemoteDisconnected is one
            self._own.__dict__.pop("connection", None)
            if not again:
                raise
            answer, content = self._post(body)
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{self.name}: found {answer.status} {content[:200]!r}")
        coded = [one["embedding"] for one in json.loads(content)["data"]]
        if len(coded) != len(inputs):
            raise RuntimeError(f"{self.name}: found {len(coded)} embeddings of {len(inputs)}")
        return np.stack([np.frombuffer(base64.b64decode(one), "<f4") for one in coded])

    def megabytes(self) -> float:
        """Memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def close(self) -> int:
        """End it; its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def _post(self, body: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connection()
        connection.request("POST", "/embeddings", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer, answer.read()

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self.port)
            self._own.connection.connect()
            # as all HTTP libraries do: without it head and body wait 40 ms for one another
            self._own.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._own.connection

    def _answers(self) -> bool:
        try:
            return len(self.embed("text", ["a"], again=False)) == 1
        except (OSError, RuntimeError, http.client.HTTPException):
            return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def nnclip_server(path: str, precision: str) -> Server:
    """`nnclip serve`."""
    port = free_port()
    command = [sys.executable, "-m", "nnclip", "serve", "--port", str(port), "-m", f"model={path}"]
    return Server("nnclip", [*command, "--precision", precision], port)


def naive_server(path: str, precision: str) -> Server:
    """FastAPI around open_clip."""
    port = free_port()
    command = [sys.executable, str(HERE / "naive_server.py"), path, str(port), precision]
    return Server("naive open_clip", command, port)


def infinity_server(program: str, folder: Path, precision: str) -> Server:
    """infinity-emb in an environment of its own, with torch on the CPU.

    Args:
        program: its `infinity_emb`.
        folder: the model as transformers reads it.
        precision: "fp32" or "bf16".
    """
    port = free_port()
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    command = [program, "v2", "--model-id", str(folder), "--served-model-name", "model"]
    command += ["--port", str(port), "--engine", "torch", "--device", "cpu", "--dtype", dtype]
    command += ["--no-model-warmup", "--log-level", "error"]
    found = Server("infinity", command, port, HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")
    found.most = 32
    return found


def transformers_folder(path: str, folder: Path) -> Path:
    """Write an .h5 with OpenAI's vocabulary as transformers reads it, its tokenizer too."""
    from open_clip.tokenizer import SimpleTokenizer

    from nnclip.convert.h5_to_torch import convert_h5
    from nnclip.convert.huggingface import DIALECT

    folder.mkdir(exist_ok=True)
    convert_h5(Path(path), folder, DIALECT)
    own = SimpleTokenizer()
    start, end = "<|startoftext|>", "<|endoftext|>"
    ends = {"<start_of_text>": start, "<end_of_text>": end}
    vocabulary = {ends.get(token, token): number for token, number in own.encoder.items()}
    merges = sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__)
    told = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **told}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]))
    (folder / "special_tokens_map.json").write_text(json.dumps(told))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
