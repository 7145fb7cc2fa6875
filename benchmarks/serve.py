"""The server beside its own tower: what HTTP, decoding and batching leave of a model's speed.

    python benchmarks/serve.py [--quick] [--models ViT-B/32,bundled] [--precision fp32]

Clients are threads of this process, so their work is taken from the same cores as the server's.
No image and no text is sent twice: nothing comes from a cache.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import models
import numpy as np
from measuring import Contender, Report, judged, print_rows, ratio, row, take_turns
from PIL import Image

from nnclip.clip import CLIP
from nnclip.weights.model import save_model

CLIENTS, MANY = 16, 64
PATIENCE = 300  # seconds
HALF = 0.5  # of the load that 16 clients reach
_numbers = itertools.count()


class Serving:
    """A server in a process of its own."""

    def __init__(self, model: str | None, precision: str | None) -> None:
        flags = ["-m", model or "bundled", *(["--precision", precision] if precision else [])]
        command = [sys.executable, "-m", "nnclip", "serve", "--port", "0", *flags]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = []
        while not lines or not lines[-1].startswith("nnclip: ready"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            lines.append(line)
        self.ready_seconds = time.perf_counter() - start
        self.port = int(re.search(r":(\d+)$", lines[0].strip())[1])
        self._own = threading.local()

    def post(self, inputs: list[dict[str, str]]) -> float:
        """Ask for embeddings in base64; returns the seconds until they are there."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self.port)
            self._own.connection.connect()
            # as all HTTP libraries do: without it head and body wait 40 ms for one another
            self._own.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        body = json.dumps({"input": inputs, "encoding_format": "base64"})
        self._own.connection.request("POST", "/v1/embeddings", body)
        answer = self._own.connection.getresponse()
        content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"expected an answer, found {answer.status} {content[:200]!r}")
        if len(json.loads(content)["data"]) != len(inputs):
            raise RuntimeError("found another number of embeddings than inputs")
        return time.perf_counter() - start

    def megabytes(self) -> float:
        """Memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def close(self) -> int:
        """End it; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def photo() -> bytes:
    """A JPEG of 320 x 240 pixels, smooth as photographs are."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def fresh_image(content: bytes) -> dict[str, str]:
    """The same image under other bytes: what stands behind its end is not decoded."""
    return {"image": base64.b64encode(content + str(next(_numbers)).encode()).decode()}


def fresh_text() -> dict[str, str]:
    """A caption that was never sent."""
    return {"text": f"a photo of a dog with the number {next(_numbers)}"}


def contenders(serving: Serving, model: CLIP, clients: ThreadPoolExecutor) -> list[Contender]:
    """What takes turns: the towers alone on ready arrays, and the server."""
    content, precision = photo(), model.precision
    image = model.preprocess(Image.open(BytesIO(content)))
    images = {n: np.stack([image] * n) for n in (CLIENTS, MANY)}
    ids = model.tokenize([fresh_text()["text"] for _ in range(CLIENTS)])

    def each(make):
        return lambda: list(clients.map(serving.post, [[make()] for _ in range(CLIENTS)]))

    def call(name, function, items):
        return Contender(name, precision, function, items)

    return [
        call("tower, 16 images", lambda: model.encode_image(images[CLIENTS]), CLIENTS),
        call("16 clients, an image each", each(lambda: fresh_image(content)), CLIENTS),
        call("tower, 64 images", lambda: model.encode_image(images[MANY]), MANY),
        call(
            "a request with 64 images",
            lambda: serving.post([fresh_image(content) for _ in range(MANY)]),
            MANY,
        ),
        call("tower, 16 texts", lambda: model.encode_text(ids), CLIENTS),
        call("16 clients, a text each", each(fresh_text), CLIENTS),
    ]


def half_load(serving: Serving, per_second: float, count: int) -> dict[str, float]:
    """Seconds of requests that come evenly, half as many as the server can answer."""
    content, gap = photo(), 1 / (HALF * per_second)
    begin = time.perf_counter() + 0.1

    def ask(number: int) -> float:
        time.sleep(max(0.0, begin + number * gap - time.perf_counter()))
        return serving.post([fresh_image(content)])

    with ThreadPoolExecutor(4 * CLIENTS) as many:
        before = serving.megabytes()
        seconds = list(many.map(ask, range(count)))
    return {
        "requests": count,
        "lost": count - len(seconds),
        "p50_seconds": float(np.percentile(seconds, 50)),
        "p95_seconds": float(np.percentile(seconds, 95)),
        "megabytes_more": serving.megabytes() - before,
    }


def measure(report: Report, name: str, args: argparse.Namespace) -> None:
    """One model: a table, its ratios, the load."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(CLIENTS) as clients:
        path = None
        if name != "bundled":
            path = str(Path(folder) / "model.h5")
            save_model(path, models.random_weights(name))
        model = CLIP(path, precision=args.precision)
        serving = Serving(path, args.precision)
        try:
            parts = contenders(serving, model, clients)
            take_turns(parts, args.rounds, args.patience)
            least = 0.6 if model.precision == "int8" else 0.8
            ratios = {
                f"{name} {server.implementation}, of the tower alone": judged(
                    ratio(server, tower), least=target
                )
                for tower, server, target in zip(
                    parts[::2], parts[1::2], (least, 0.85, 0.6), strict=True
                )
            }
            rows = [row(part, model=name) for part in parts]
            load = half_load(serving, rows[1]["per_second"]["median"], args.requests)
        finally:
            status = serving.close()
        load |= {"ready_seconds": serving.ready_seconds, "status": status}
        print_rows(name, rows)
        print("  " + ", ".join(f"{key} {value:.3g}" for key, value in load.items()))
        report.add(name, rows, ratios, load=load)


def main(argv: list[str] | None = None) -> int:
    """Measure, print tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="ViT-B/32,bundled", help="(%(default)s)")
    parser.add_argument("--precision", help="default: the fastest exact enough one")
    parser.add_argument("--rounds", type=int, default=15, help="at most (%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="at half load (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the bundled model, few rounds")
    parser.add_argument("--out", type=Path, help="JSON file to write after every model")
    args = parser.parse_args(argv)
    args.patience = 5.0 if args.quick else 60.0
    if args.quick:
        args.models, args.rounds, args.requests = "bundled", 3, 100
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    report = Report("serve", args.out)
    for name in args.models.split(","):
        if not report.has(name):
            measure(report, name, args)
    report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
