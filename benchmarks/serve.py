"""The server beside its own tower and beside other servers; its load, and its end.

    python benchmarks/serve.py [--quick] [--models ViT-B/32,bundled] [--precisions bf16,int8]
        [--infinity ENV/bin/infinity_emb] [--out FILE]

Clients are threads of this process, so their work is taken from the same cores as the server's.
No image and no text is sent twice: nothing comes from a cache. With --out, a model and precision
that the file holds is not measured again.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import models
import numpy as np
from measuring import (
    Contender,
    Report,
    agreement,
    installed,
    judged,
    print_rows,
    ratio,
    row,
    take_turns,
)
from PIL import Image
from serving import Server, infinity_server, naive_server, nnclip_server, transformers_folder

from nnclip.clip import CLIP
from nnclip.engine.precision import available_precisions
from nnclip.weights.model import save_model

CLIENTS, MANY = 16, 64
HALF = 0.5  # of the load that 16 clients reach
SAMPLES = 10  # of the memory, during the load
LEAST = {"image": {"fp32": 0.8, "bf16": 0.8, "int8": 0.6}, "many": 0.85, "text": 0.6, "peer": 1.5}
_numbers = itertools.count()


def photo() -> bytes:
    """A JPEG of 320 x 240 pixels, smooth as photographs are."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


PHOTO = photo()


def fresh_image() -> str:
    """The same image under other bytes: what stands behind its end is not decoded."""
    content = base64.b64encode(PHOTO + str(next(_numbers)).encode()).decode()
    return f"data:image/jpeg;base64,{content}"


def fresh_text() -> str:
    """A caption that was never sent."""
    return f"a photo of a dog with the number {next(_numbers)}"


FRESH = {"image": fresh_image, "text": fresh_text}


def towers(model: CLIP) -> dict[str, Contender]:
    """What a server can at most reach: the towers alone, on ready arrays."""
    image = model.preprocess(Image.open(BytesIO(PHOTO)))
    images = {n: np.stack([image] * n) for n in (CLIENTS, MANY)}
    ids = model.tokenize([fresh_text() for _ in range(CLIENTS)])

    def call(name: str, function: Any, items: int) -> Contender:
        return Contender(name, model.precision, function, items)

    return {
        "image": call("tower, 16 images", lambda: model.encode_image(images[CLIENTS]), CLIENTS),
        "many": call("tower, 64 images", lambda: model.encode_image(images[MANY]), MANY),
        "text": call("tower, 16 texts", lambda: model.encode_text(ids), CLIENTS),
    }


def asked(server: Server, precision: str, clients: ThreadPoolExecutor) -> dict[str, Contender]:
    """The same work, asked of a server."""

    def each(modality: str) -> list[np.ndarray]:
        inputs = [[FRESH[modality]()] for _ in range(CLIENTS)]
        return list(clients.map(partial(server.embed, modality), inputs))

    def many() -> list[np.ndarray]:
        images = [fresh_image() for _ in range(MANY)]
        starts = range(0, MANY, server.most)
        return [server.embed("image", images[i : i + server.most]) for i in starts]

    def call(name: str, function: Any, items: int) -> Contender:
        return Contender(f"{server.name}: {name}", precision, function, items)

    return {
        "image": call("16 clients, an image each", partial(each, "image"), CLIENTS),
        "many": call("a request with 64 images", many, MANY),
        "text": call("16 clients, a text each", partial(each, "text"), CLIENTS),
    }


def half_load(server: Server, per_second: float, count: int, longest: float) -> dict[str, float]:
    """Seconds of requests that come evenly, half as many as the server can answer."""
    gap = 1 / (HALF * per_second)
    count = min(count, int(longest / gap))
    begin = time.perf_counter() + 0.1
    memory = []

    def ask(number: int) -> float | None:
        due = begin + number * gap
        time.sleep(max(0.0, due - time.perf_counter()))
        if number % max(1, count // SAMPLES) == 0:
            memory.append(server.megabytes())
        try:
            server.embed("image", [fresh_image()], again=False)
        except (OSError, RuntimeError, http.client.HTTPException):
            return None
        return time.perf_counter() - due  # what it waited for a thread of this process, too

    with ThreadPoolExecutor(4 * CLIENTS) as many:
        seconds = [found for found in many.map(ask, range(count)) if found is not None]
    memory.append(server.megabytes())
    return {
        "requests": count,
        "lost": count - len(seconds),
        "p50_seconds": float(np.percentile(seconds, 50)),
        "p95_seconds": float(np.percentile(seconds, 95)),
        "megabytes": memory[-1],
        "megabytes_more": memory[-1] - memory[len(memory) // 3],  # since its caches are full
    }


def end_under_load(server: Server, count: int) -> dict[str, int]:
    """SIGTERM while all clients ask: what was sent is answered, then nobody is let in."""
    answered, lost = [], []
    enough = threading.Event()

    def ask() -> None:
        while True:
            try:
                server.embed("text", [fresh_text()], again=False)
            except ConnectionRefusedError:
                return
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                lost.append(error)
                return
            answered.append(1)
            if len(answered) >= count:
                enough.set()

    with ThreadPoolExecutor(CLIENTS) as clients:
        asking = [clients.submit(ask) for _ in range(CLIENTS)]
        enough.wait(60)
        before = len(answered)
        server.process.send_signal(signal.SIGTERM)
        for one in asking:
            one.result()
    for error in lost:
        print(f"  lost: {error!r}")
    status = server.close()
    return {"answered_after_sigterm": len(answered) - before, "lost": len(lost), "status": status}


def start_peers(path: str, precision: str, folder: Path, report: Report, program: str) -> list:
    """The other servers that run here, with the same weights."""
    if precision == "int8" or not path.endswith(".h5"):
        return []
    starts = []
    if installed("open_clip", "torchvision"):
        starts.append(lambda: naive_server(path, precision))
    else:
        report.skip("naive open_clip: open_clip or torchvision not installed")
    if program:
        hub = transformers_folder(path, folder / "hub")
        starts.append(lambda: infinity_server(program, hub, precision))
    else:
        report.skip("infinity: expected its program by --infinity")
    found = []
    for start in starts:
        try:
            found.append(start())
        except RuntimeError as error:
            report.skip(str(error))
    return found


def agree(ours: Server, theirs: Server) -> float:
    """The least cosine of what two servers say of an image and a text."""
    return min(
        agreement(ours.embed(kind, [one]), theirs.embed(kind, [one]))["least_cosine"]
        for kind, one in ((kind, make()) for kind, make in FRESH.items())
    )


def measure(report: Report, name: str, precision: str, args: argparse.Namespace) -> None:
    """One model in one precision: a table, its ratios, the load, the end."""
    title = f"{name} {precision}"
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(CLIENTS) as clients:
        path = name
        if name != "bundled":
            path = str(Path(place) / "model.h5")
            save_model(path, models.random_weights(name))
        model = CLIP(None if name == "bundled" else path, precision=precision)
        ours = nnclip_server(path, precision)
        peers: Sequence[Server] = []
        try:
            peers = start_peers(path, precision, Path(place), report, args.infinity)
            alone, own = towers(model), asked(ours, precision, clients)
            others = {peer.name: asked(peer, precision, clients) for peer in peers}
            parts = [*alone.values(), *own.values()]
            parts += [part for other in others.values() for part in other.values()]
            take_turns(parts, args.rounds, args.patience)
            ratios = {}
            for kind, part in own.items():
                least = LEAST["image"][precision] if kind == "image" else LEAST[kind]
                ratios[f"{title} {part.implementation}, of the tower alone"] = judged(
                    ratio(part, alone[kind]), least=least
                )
                for peer, other in others.items():
                    ratios[f"{title} {part.implementation}, to {peer}"] = judged(
                        ratio(part, other[kind]), least=LEAST["peer"]
                    )
            rows = [row(part, model=name) for part in parts]
            rate = own["image"].per_second()["median"]
            load: dict[str, Any] = {"ready_seconds": ours.ready_seconds}
            load |= {f"cosine with {peer.name}": agree(ours, peer) for peer in peers}
            load |= half_load(ours, rate, args.requests, args.load_seconds)
            load["end"] = end_under_load(ours, args.end_after)
        finally:
            for server in (ours, *peers):
                server.close()
        print_rows(title, rows)
        print("\n".join(f"  {key}: {value}" for key, value in load.items()))
        report.add(title, rows, ratios, load=load)


def main(argv: list[str] | None = None) -> int:
    """Measure, print tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="ViT-B/32,bundled", help="(%(default)s)")
    parser.add_argument("--precisions", help="default: the fastest exact-enough one, and int8")
    parser.add_argument("--rounds", type=int, default=15, help="at most (%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="at half load (%(default)s)")
    parser.add_argument(
        "--load-seconds", type=float, default=600, help="at most for these (%(default)s)"
    )
    parser.add_argument("--infinity", default="", help="infinity_emb of another environment")
    parser.add_argument("--quick", action="store_true", help="the bundled model, few rounds")
    parser.add_argument("--out", type=Path, help="JSON file to write after every model")
    args = parser.parse_args(argv)
    args.patience, args.end_after = 60.0, 500
    if args.quick:
        args.patience, args.end_after = 5.0, 50
        args.models, args.rounds, args.requests = "bundled", 3, 100
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end, too
    best = [precision for precision in available_precisions() if precision != "int8"][-1]
    precisions = args.precisions or (best if args.quick else f"{best},int8")
    report = Report("serve", args.out)
    for name, precision in itertools.product(args.models.split(","), precisions.split(",")):
        if not report.has(f"{name} {precision}"):
            measure(report, name, precision, args)
    report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
