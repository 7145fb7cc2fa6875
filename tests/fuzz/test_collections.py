"""Damaged files of a collection: the right answer, or a sentence; never another answer."""

from dataclasses import replace
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from nnclip.search.collection import Collection
from nnclip.search.feed import Tried
from nnclip.search.index import build_index
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest, write_manifest
from nnclip.search.shards import planned_items, write_plan, write_shard
from nnclip.search.sources import Item
from nnclip.search.store import FolderStore
from tests.fuzz.driver import Subject, fuzz
from tests.fuzz.mutations import damage_file, damage_json_file

FORMAT_1 = Path(__file__).parents[1] / "search" / "format1"
EMBED, SHARD, ITEMS = 32, 64, 150
FAILED = (5, 70)


def _rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, EMBED))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def _make(folder: Path) -> None:
    """Three shards, two images of which cannot be read; six entries; an index."""
    items = [Item(f"/images/{i}.png", f"/images/{i}.png") for i in range(ITEMS)]
    tried = [
        Tried(it, 1, 1, "0" * 32, "no image" if i in FAILED else None) for i, it in enumerate(items)
    ]
    for number in range(3):
        part = tried[number * SHARD : (number + 1) * SHARD]
        write_shard(folder, number, _rows(sum(it.error is None for it in part), number), part)
    manifest = Manifest("", "0" * 32, "fp32", EMBED, "float16", ("/images",), "", ITEMS, SHARD)
    write_manifest(folder, replace(manifest, plan=write_plan(folder, items, {})))
    store = Collection(folder)
    for number in range(6):
        added = _rows(3 * number % 7, 10 + number)
        records = [{"image": f"/later/{number}-{i}.png"} for i in range(len(added))]
        entry = Entry(records, added if len(added) else np.empty((0, EMBED)), [number], None, [])
        store.append(replace(entry, banned=[f"/images/{number}.png"]))
    build_index(store, "ivf", 0.5)
    store.append(Entry([{"image": "/later/last.png"}], _rows(1, 20), sources=["/images", "/later"]))


def _everything(folder: Path) -> Any:
    """All that a collection tells, by exact search."""
    store = FolderStore(folder, exact=True)
    hits = [
        store.nearest(query, 200, 20.0) for query in np.eye(store.manifest.embed, dtype="f4")[:3]
    ]
    found = [(hit.rows.tolist(), hit.cosines.tolist(), hit.log_total) for hit in hits]
    manifest = store.manifest
    planned = planned_items(folder, manifest, store.roots) if manifest.format > 1 else []
    told = (list(store.live()), store.failures(), store.sources, sorted(store.banned), planned)
    return found, told, manifest


def _by_index(folder: Path) -> Any:
    store = FolderStore(folder)
    hits = [
        store.nearest(query, 10, 20.0) for query in np.eye(store.manifest.embed, dtype="f4")[:3]
    ]
    return [(hit.rows.tolist(), hit.cosines.tolist(), hit.log_total) for hit in hits]


def _of(*patterns: str) -> Any:
    """Damages one file of those that fit."""

    def damage(folder: Path, random: Random) -> str:
        files = {file for pattern in patterns for file in folder.glob(pattern)}
        file = random.choice(sorted(f for f in files if f.is_file() and f.stat().st_size))
        if file.suffix == ".json" and random.random() < 0.5:
            return damage_json_file(file, random)
        return damage_file(file, random)

    return damage


def _old(folder: Path) -> None:
    copytree(FORMAT_1, folder, dirs_exist_ok=True)


LOG = Subject(_make, _of("log"), _everything, exact=True)
ACKNOWLEDGED = Subject(_make, _of("acknowledged"), _everything, exact=True)
MANIFEST = Subject(_make, _of("manifest.json"), _everything, exact=True)
SHARDS = Subject(_make, _of("shards/*", "plan.parquet"), _everything, exact=True)
INDEX = Subject(_make, _of("index.json", "index-*"), _by_index, exact=True)
OLD = Subject(_old, _of("*[!sz]", "shards/*"), _everything)  # has no checksums
SUBJECTS = ["LOG", "ACKNOWLEDGED", "MANIFEST", "SHARDS", "INDEX", "OLD"]
SHORT, LONG = range(25), range(25, 1100)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("cases", [SHORT, pytest.param(LONG, marks=pytest.mark.long)], ids=str)
def test_damage_gives_the_right_answer_or_a_sentence(
    subject: str, cases: range, tmp_path: Path
) -> None:
    found = fuzz(f"tests.fuzz.test_collections:{subject}", tmp_path, cases)
    assert not found.faults
    assert found.right + found.refused == len(cases)
