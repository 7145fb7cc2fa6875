"""Processes killed at any moment (kill -9): what they acknowledged is there, and work goes on."""

import random
import signal
import subprocess
import sys
import time

import numpy as np

from nnclip.search.collection import Collection
from nnclip.search.log import Entry
from nnclip.search.manifest import manifest_of
from nnclip.search.shards import has_shard

from .conftest import COLOURS, draw, embedded, unit_vectors, vector_collection

ADDING = """
import sys
import numpy as np
from nnclip.search.collection import Collection
from nnclip.search.log import Entry

collection = Collection(sys.argv[1])
number = collection.rows
while True:
    rng = np.random.default_rng(number)
    rows = rng.normal(size=(1 + number % 300, 16)).astype(np.float16)
    names = [{"image": f"{number}.{i}"} for i in range(len(rows))]
    added = collection.append(Entry(names, rows, [number - 1] if number % 3 == 0 else []))
    print(added.start, added.stop, flush=True)  # acknowledged
    number = added.stop
"""


def test_a_killed_adder_loses_nothing_it_acknowledged(tmp_path, rng):
    folder = vector_collection(tmp_path / "EMB", [unit_vectors(rng, 50).astype(np.float16)])
    chance = random.Random(5)
    for _ in range(4):
        before = Collection(folder).rows
        process = subprocess.Popen(
            [sys.executable, "-c", ADDING, str(folder)], stdout=subprocess.PIPE, text=True
        )
        first = process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        acknowledged = [first, *process.communicate()[0].splitlines()]
        spans = [tuple(map(int, line.split())) for line in acknowledged if line.strip()]
        collection = Collection(folder)
        assert spans[0][0] == before and collection.rows >= spans[-1][1]
        vectors = collection.blocks[-1]
        for start, stop in spans:
            wanted = np.random.default_rng(start).normal(size=(1 + start % 300, 16))
            assert stop - start == len(wanted)
            np.testing.assert_array_equal(
                vectors[start - 50 : stop - 50], wanted.astype(np.float16)
            )
            assert collection.records([start, stop - 1]) == [
                {"image": f"{start}.0"},
                {"image": f"{start}.{stop - start - 1}"},
            ]
            assert start % 3 != 0 or start - 1 in collection.dead


EMBEDDING = """
import sys
from pathlib import Path
from nnclip.clip import CLIP
from nnclip.search.embed import embed_shards

model = CLIP(sys.argv[2], precision="fp32")
print("loaded", flush=True)
embed_shards(Path(sys.argv[1]), model, workers=0, batch=4)
"""


def test_a_killed_embedding_goes_on_where_it_stopped(tmp_path, model, monkeypatch):
    from nnclip.search import embed

    monkeypatch.setattr(embed, "SMALLEST", 32)
    for number in range(200):
        draw(tmp_path / "in" / f"{number}.png", COLOURS[number % 10], (300 + number, 300))
    whole = Collection(embedded(tmp_path / "whole", model, tmp_path / "in"))
    manifest = manifest_of(model, str(model.path), "float16")
    embed.prepare(tmp_path / "EMB", manifest, [str(tmp_path / "in")], "filepath")
    command = [sys.executable, "-c", EMBEDDING, str(tmp_path / "EMB"), str(model.path)]
    chance, kept = random.Random(1), 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.8))
        process.kill()
        process.communicate()
        done = sum(has_shard(tmp_path / "EMB", number) for number in range(7))
        assert done >= kept
        kept = done
    embed.embed_shards(tmp_path / "EMB", model, workers=0)
    again = Collection(tmp_path / "EMB")
    assert [r["image"] for _, r in again.live()] == [r["image"] for _, r in whole.live()]
    for a, b in zip(again.blocks, whole.blocks, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_two_writers_do_not_mix(tmp_path, rng):
    folder = vector_collection(tmp_path / "EMB", [unit_vectors(rng, 50).astype(np.float16)])
    command = [sys.executable, "-c", ADDING, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    time.sleep(0.3)
    acknowledged = []
    for process in processes:
        process.kill()
        lines = [line for line in process.communicate()[0].splitlines() if line.count(" ") == 1]
        acknowledged += [tuple(map(int, line.split())) for line in lines]
    collection = Collection(folder)
    taken = [row for start, stop in acknowledged for row in range(start, stop)]
    assert taken and len(taken) == len(set(taken)) and max(taken) < collection.rows
    reader = Collection(folder)
    collection.append(Entry([{"image": "last"}], unit_vectors(rng, 1)))
    assert reader.refresh() and reader.records([reader.rows - 1]) == [{"image": "last"}]
