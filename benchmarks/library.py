"""The page on a large collection, as its browser asks: first hits, those after them, memory.

    python benchmarks/library.py [--rows 100000] [--questions 200] [--quick]

The collection's vectors are drawn, of the bundled model's length; its images are 200 drawn files
that stand for all of them. Every question has other words.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from demo import PATIENCE, Page
from nnclip.clip import CLIP
from nnclip.image.facts import Facts
from nnclip.search.feed import Tried
from nnclip.search.manifest import manifest_of, write_manifest
from nnclip.search.shards import write_shard
from nnclip.search.sources import Item

FILES, SHARD = 200, 4096
PAGES = 20  # of one question
VISITORS = 8  # who take turns
CAMERAS = ("Canon EOS 5D", "Apple iPhone 12", "FUJIFILM X100V")
FIRST_TARGET, NEXT_TARGET, FLAT_TARGET = 1.0, 0.3, 50.0  # seconds, seconds, megabytes


def write_collection(folder: Path, rows: int, model: CLIP) -> Path:
    """A collection of so many images in a folder."""
    photos, rng = folder / "photos", np.random.default_rng(1)
    photos.mkdir()
    for number in range(FILES):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(pixels).resize((1600, 1200), Image.Resampling.BICUBIC)
        image.save(photos / f"{number:03}.jpg")
    place = folder / "EMB"
    (place / "shards").mkdir(parents=True)
    manifest = manifest_of(model, "", "float16")
    for number, start in enumerate(range(0, rows, SHARD)):
        count = min(SHARD, rows - start)
        vectors = rng.normal(size=(count, manifest.embed))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tried = [_tried(photos, start + row) for row in range(count)]
        write_shard(place, number, vectors.astype(np.float16), tried)
    whole = replace(manifest, sources=(str(photos),), items=rows, shard=SHARD)
    write_manifest(place, whole)
    return place


def _tried(photos: Path, row: int) -> Tried:
    taken = f"{2000 + row % 25}-{1 + row % 12:02}-11T10:20:30"
    facts = Facts(1600, 1200, taken, CAMERAS[row % len(CAMERAS)])
    name = f"{photos}/{row % 40}/{row:06}.jpg"
    item = Item(name, str(photos / f"{row % FILES:03}.jpg"))
    return Tried(item, 1, 1, f"{row:032x}", facts=facts)


class Library:
    """The search tab of a page."""

    def __init__(self, page: Page) -> None:
        self.page, self._asked = page, 0
        config = json.loads(self._ask("config"))
        self._events = {each["api_name"]: each["id"] for each in config["dependencies"]}

    def show(self, text: str, camera: str = "") -> tuple[float, str]:
        """The first hits: seconds, and their HTML."""
        return self._trigger("show", text, camera)

    def more(self, text: str, start: int) -> tuple[float, str]:
        """Hits from `start` on."""
        return self._trigger("more", text, "", {"start": start})

    def thumbnails(self, html: str) -> float:
        """Seconds until all images of a page are there, six at a time as browsers ask."""
        start = time.perf_counter()
        with ThreadPoolExecutor(6) as pool:
            found = re.findall(r'src="/(photos/\w+/\d+)"', html)
            list(pool.map(self._ask, found))
        return time.perf_counter() - start

    def _trigger(
        self, name: str, text: str, camera: str, data: dict[str, int] | None = None
    ) -> tuple[float, str]:
        self._asked += 1
        session = f"library-{self._asked % VISITORS}"
        values = [text, None, "", "EMB", "", "", "", camera, -1, ""]
        asked = {"data": values, "fn_index": self._events[name], "session_hash": session}
        start = time.perf_counter()
        self._ask("gradio_api/queue/join", json.dumps({**asked, "event_data": data}).encode())
        stream = self._ask(f"gradio_api/queue/data?session_hash={session}").decode()
        taken = time.perf_counter() - start
        messages = [json.loads(line[6:]) for line in stream.splitlines() if line[:6] == "data: "]
        done = next(each for each in messages if each["msg"] == "process_completed")
        if not done["success"] or 'class="tile"' not in (html := done["output"]["data"][0]):
            raise RuntimeError(f"expected hits, found {done}")
        return taken, html

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.page.url + path, body, kind)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())


def measure(place: Path, rows: int, count: int) -> dict[str, float]:
    """One row of numbers."""
    page = Page(["--images", str(place)])
    try:
        library = Library(page)
        first, html = library.show("a horse")
        thumbnails = [library.thumbnails(html) for _ in range(2)]
        shown = [library.show(f"a star {number}")[0] for number in range(20)]
        filtered = [library.show(f"a cat {number}", "canon")[0] for number in range(20)]
        after = [library.more("a star 0", 24 * page_)[0] for page_ in range(1, PAGES)]
        before = page.megabytes()
        _many(count, lambda number: library.more(f"a tree {number}", 24 * (number % PAGES)))
        return {
            "rows": rows,
            "ready_seconds": page.ready_seconds,
            "first_answer_seconds": first,
            "thumbnails_seconds": thumbnails[0],
            "thumbnails_again_seconds": thumbnails[1],
            "answer_median_seconds": statistics.median(shown),
            "filtered_first_seconds": filtered[0],
            "filtered_median_seconds": statistics.median(filtered),
            "next_page_median_seconds": statistics.median(after),
            "next_page_slowest_seconds": max(after),
            "questions": count,
            "megabytes_before": before,
            "megabytes_after": page.megabytes(),
        }
    finally:
        page.close()


def _many(count: int, ask: Callable[[int], object]) -> None:
    for number in range(count):
        ask(number)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="images (%(default)s)")
    parser.add_argument("--questions", type=int, default=200, help="for memory (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2,000 images, 20 questions")
    args = parser.parse_args(argv)
    if args.quick:
        args.rows, args.questions = 2000, 20
    with tempfile.TemporaryDirectory(prefix="nnclip-library-") as temporary:
        folder = Path(temporary)
        os.environ["NNCLIP_CACHE"] = str(folder / "cache")
        place = write_collection(folder, args.rows, CLIP(precision="fp32"))
        found = measure(place, args.rows, args.questions)
    for name, value in found.items():
        print(f"{name:26} {value:10.3f}")
    targets = {
        "first answer": (found["first_answer_seconds"], FIRST_TARGET),
        "next page": (found["next_page_median_seconds"], NEXT_TARGET),
        "memory grows by": (found["megabytes_after"] - found["megabytes_before"], FLAT_TARGET),
    }
    for name, (value, most) in targets.items():
        print(f"{name}: {value:.3f}, at most {most:g}: {'holds' if value <= most else 'FAILS'}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
