"""Collections of drawn images, embedded by the small model; and collections of bare vectors."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.search.embed import embed_shards, prepare
from nnclip.search.feed import Tried
from nnclip.search.manifest import Manifest, manifest_of, write_manifest
from nnclip.search.shards import write_shard
from nnclip.search.sources import Item

COLOURS = ["red", "green", "blue", "yellow", "white", "black", "orange", "purple", "brown", "pink"]


def draw(path: Path, colour: str, size: tuple[int, int] = (40, 36)) -> Path:
    """An image file of one colour with a diagonal, so that no two are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    for x in range(min(size)):
        image.putpixel((x, (x * (COLOURS.index(colour) + 2)) % size[1]), (128, 128, 0))
    image.save(path)
    return path


def embedded(folder: Path, model: CLIP, *sources: Path, workers: int = 0, **options: str) -> Path:
    """Embed sources into a folder."""
    manifest = manifest_of(model, str(model.path), options.pop("dtype", "float16"))
    prepare(folder, manifest, [str(source) for source in sources], "filepath")
    embed_shards(folder, model, workers=workers)
    return folder


def vector_collection(folder: Path, blocks: list[np.ndarray]) -> Path:
    """A collection of unit vectors (n, E) whose images are files `0`, `1`, ..."""
    embed, shard = blocks[0].shape[1], len(blocks[0])
    total = sum(map(len, blocks))
    for number, block in enumerate(blocks):
        names = [f"/pictures/{number * shard + i}" for i in range(len(block))]
        tried = [Tried(Item(name, name), 1, 1, "0") for name in names]
        write_shard(folder, number, block, tried)
    dtype = str(blocks[0].dtype)
    write_manifest(folder, Manifest("", "0" * 32, "fp32", embed, dtype, (), "", total, shard))
    return folder


def unit_vectors(rng: np.random.Generator, count: int, embed: int = 16) -> np.ndarray:
    """(count, embed) float32 in a few clusters, of unit length."""
    centres = rng.normal(size=(8, embed))
    rows = centres[rng.integers(8, size=count)] + 0.6 * rng.normal(size=(count, embed))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def model(small_h5: Path) -> CLIP:
    return CLIP(small_h5, precision="fp32")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of ten images, one of them below another folder, and a file that is none."""
    folder = tmp_path / "pictures"
    for colour in COLOURS:
        draw(folder / ("deep" if colour == "pink" else "") / f"{colour}.png", colour)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder
