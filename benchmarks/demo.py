"""The page as visitors feel it: seconds until it is up, the first answer, eight at once, memory.

    python benchmarks/demo.py [--quick] [--model FILE]

Clients are threads of this process; each asks as a browser or gradio_client does (a session of its
own; one request that joins the queue, one that waits for the answer), every time with other
categories, half of them new.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "assets" / "example.jpg"
CLIENTS = 8
CATEGORIES = 10  # categories a question
PATIENCE = 120  # seconds


class Page:
    """A page in a process of its own."""

    def __init__(self, flags: list[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, ROOT / "demo" / "app.py", "--port", str(port), *flags]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self._ask("")
        self.ready_seconds = time.perf_counter() - start
        self._file = self._upload(PICTURE)

    def classify(self, categories: list[str]) -> float:
        """Ask once; returns the seconds it took."""
        start = time.perf_counter()
        data = [self._file, "\n".join(categories), "{}", ""]
        asked = {"data": data, "session_hash": f"client{threading.get_ident()}"}
        body = json.dumps(asked).encode()
        event = json.loads(self._ask("gradio_api/call/classify", body))["event_id"]
        answer = self._ask(f"gradio_api/call/classify/{event}").decode()
        if "event: complete" not in answer:
            raise RuntimeError(f"expected an answer, found {answer!r}")
        return time.perf_counter() - start

    def megabytes(self) -> float:
        """Memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(x for x in status if x.startswith("VmRSS")).split()[1]) / 1024

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(PATIENCE)

    def _upload(self, path: Path) -> dict[str, Any]:
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        body = head + path.read_bytes() + b"\r\n--x--\r\n"
        kind = "multipart/form-data; boundary=x"
        (stored,) = json.loads(self._ask("gradio_api/upload", body, kind))
        return {"path": stored, "meta": {"_type": "gradio.FileData"}}

    def _ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()


def questions(count: int) -> list[list[str]]:
    """Lists of categories, the same ones on every run."""
    rng = random.Random(412)
    things = ("seal", "dog", "star", "pizza", "rocket", "tree", "crown", "clock")
    places = ("beach", "snow", "forest", "city", "desert")
    known = [f"a {thing} in the {place}" for thing in things for place in places]
    return [
        rng.sample(known, CATEGORIES // 2)
        + [
            f"{rng.choice(known)} {rng.randrange(10**6)}"
            for _ in range(CATEGORIES - CATEGORIES // 2)
        ]
        for _ in range(count)
    ]


def measure(flags: list[str], count: int) -> dict[str, float]:
    """One row of numbers."""
    page = Page(flags)
    try:
        lists = iter(questions(count + 200))
        first = page.classify(next(lists))
        alone = [page.classify(next(lists)) for _ in range(30)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(page.classify, [next(lists) for _ in range(64)]))
            before = page.megabytes()
            together = list(pool.map(page.classify, [next(lists) for _ in range(count)]))
        return {
            "ready_seconds": page.ready_seconds,
            "first_answer_seconds": first,
            "alone_median_ms": 1000 * statistics.median(alone),
            "clients": CLIENTS,
            "requests": count,
            "median_ms": 1000 * statistics.median(together),
            "p95_ms": 1000 * statistics.quantiles(together, n=20)[-1],
            "megabytes_before": before,
            "megabytes_after": page.megabytes(),
        }
    finally:
        page.close()


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 requests instead of 1,000")
    parser.add_argument("--model", help="default: the bundled model")
    args = parser.parse_args()
    found = measure(["--model", args.model] if args.model else [], 100 if args.quick else 1000)
    for name, value in found.items():
        print(f"{name:22} {value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
