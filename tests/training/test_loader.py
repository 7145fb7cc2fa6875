"""Batches: the same whatever the number of ranks and workers; broken images; no leak."""

import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.image import Preprocess
from nnclip.training.data.captions import Captions
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.pairs import Pair, PairTable, Stream
from nnclip.training.data.readers import read_pairs

RECIPE = Recipe(Preprocess(16, mean=(0.5,) * 3, std=(0.5,) * 3), crop=0.5)


def global_batches(
    table: PairTable, ranks: int, workers: int, count: int
) -> list[tuple[np.ndarray, list[str]]]:
    """The first `count` batches of 8 pairs: images and captions, whoever prepared them."""
    own = 8 // ranks
    shares = []
    for rank in range(ranks):
        with Loader(table, RECIPE, own, seed=5, workers=workers) as loader:
            spans = (loader.stream.draws(k * 8 + rank * own, own) for k in range(count))
            shares.append([(b.images.copy(), b.captions) for b in loader.batches(spans)])
    return [
        (np.concatenate([s[k][0] for s in shares]), [c for s in shares for c in s[k][1]])
        for k in range(count)
    ]


def test_the_kth_batch_is_the_same_for_any_ranks_and_workers(pairs_csv: Path) -> None:
    table = read_pairs(str(pairs_csv))
    expected = global_batches(table, ranks=1, workers=0, count=7)
    for ranks, workers in ((2, 0), (4, 1), (1, 2)):
        found = global_batches(table, ranks, workers, count=7)
        for (images, captions), (images_found, captions_found) in zip(expected, found, strict=True):
            np.testing.assert_array_equal(images_found, images)
            assert captions_found == captions


def test_workers_share_memory_without_what_linux_has(
    pairs_csv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = read_pairs(str(pairs_csv))
    expected = global_batches(table, ranks=1, workers=0, count=2)
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = global_batches(table, ranks=1, workers=1, count=2)
    for (images, _), (images_found, _) in zip(expected, found, strict=True):
        np.testing.assert_array_equal(images_found, images)
    assert not list(tmp_path.glob("nnclip-*"))


def test_an_epoch_is_a_permutation_and_no_two_are_alike() -> None:
    stream = Stream(length=50, seed=1)
    epochs = [[d.index for d in stream.draws(50 * e, 50)] for e in range(3)]
    assert all(sorted(order) == list(range(50)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert epochs[1] == [d.index for d in Stream(length=50, seed=1).draws(50, 50)]


def test_rows_that_are_kept_together_are_shuffled_as_one() -> None:
    stream = Stream(length=50, seed=1, together=8)
    order = [d.index for d in stream.draws(0, 50)]
    assert sorted(order) == list(range(50))
    starts = [at for at in order if at % 8 == 0]
    assert sorted(starts) == list(range(0, 50, 8)) and starts != sorted(starts)
    for start in starts:  # the last run is what is left of the table
        at, run = order.index(start), list(range(start, min(start + 8, 50)))
        assert order[at : at + len(run)] == run
    assert order != [d.index for d in stream.draws(50, 50)]


def test_a_batch_may_reach_into_the_next_epoch() -> None:
    draws = Stream(length=5, seed=1).draws(3, 4)
    assert [d.epoch for d in draws] == [0, 0, 1, 1]


def test_augmentation_changes_from_epoch_to_epoch(pairs_csv: Path) -> None:
    table = read_pairs(str(pairs_csv))
    with Loader(table, RECIPE, 40, seed=5) as loader:
        first, second = (
            {d.index: row for d, row in zip(draws, batch.images.copy(), strict=True)}
            for draws, batch in (
                (d, next(loader.batches(iter([list(d)]))))
                for d in (loader.stream.draws(0, 40), loader.stream.draws(40, 40))
            )
        )
    assert sum(not np.array_equal(first[i], second[i]) for i in range(40)) > 30


def test_one_random_caption_a_picture_and_epoch() -> None:
    table = PairTable([Pair("x.png", ("a", "b", "c"))])
    caption = Captions()
    drawn = [caption(table[0], d) for d in Stream(1, seed=3).draws(0, 60)]
    assert set(drawn) == {"a", "b", "c"}
    assert drawn == [caption(table[0], d) for d in Stream(1, seed=3).draws(0, 60)]


@pytest.fixture
def with_broken(pairs_csv: Path, tmp_path: Path) -> PairTable:
    """The table with a missing, a cut and a textual image."""
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no image")
    cut.write_bytes((pairs_csv.parent / "images" / "0.png").read_bytes()[:60])
    good = read_pairs(str(pairs_csv))
    broken = [Pair(str(p), ("broken",)) for p in (tmp_path / "none.png", text, cut)]
    return PairTable([*broken, *map(good.__getitem__, range(13))])


def test_broken_pictures_are_replaced_alike_on_any_number_of_ranks(with_broken: PairTable) -> None:
    with Loader(with_broken, RECIPE, 16, seed=5, workers=1) as loader:
        batch = next(loader.batches(iter([loader.stream.draws(0, 16)])))
        assert {Path(name).name for name in batch.broken} == {"none.png", "text.png", "cut.png"}
        assert "broken" not in batch.captions and len(batch.captions) == 16
    one = global_batches(with_broken, ranks=1, workers=0, count=4)
    two = global_batches(with_broken, ranks=2, workers=0, count=4)
    for (images, captions), (images_found, captions_found) in zip(one, two, strict=True):
        np.testing.assert_array_equal(images_found, images)
        assert captions_found == captions


def test_a_table_of_nothing_but_broken_pictures_ends_with_an_error(tmp_path: Path) -> None:
    table = PairTable([Pair(str(tmp_path / "none.png"), ("x",))])
    with Loader(table, RECIPE, 1) as loader, pytest.raises(DataError, match="in a row"):
        next(loader.batches(iter([loader.stream.draws(0, 1)])))


def test_a_dead_worker_is_an_error_not_a_hang(pairs_csv: Path) -> None:
    table = read_pairs(str(pairs_csv))
    with Loader(table, RECIPE, 8, workers=1) as loader:
        batches = loader.batches(iter([loader.stream.draws(8 * k, 8) for k in range(50)]))
        next(batches)
        assert loader._pool is not None
        for number in loader._pool._processes:
            os.kill(number, signal.SIGKILL)
        with pytest.raises(DataError, match="worker died"):
            list(batches)


ORPHANS = """
import sys, os, signal
from nnclip.image import Preprocess
from nnclip.training.data.captions import Captions
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.readers import read_pairs
if __name__ == "__main__":
    table = read_pairs(sys.argv[1])
    loader = Loader(table, Recipe(Preprocess(16)), 8, workers=1)
    next(loader.batches(iter([loader.stream.draws(0, 8)])))
    print(*loader._pool._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_their_rank_is_killed(pairs_csv: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(ORPHANS)
    done = subprocess.run(
        [sys.executable, str(script), str(pairs_csv)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout.split()[0])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and Path(f"/proc/{worker}/cmdline").exists():
        if not Path(f"/proc/{worker}/cmdline").read_bytes():  # ended, waits to be reaped
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()


def test_memory_stays_flat_over_fifty_epochs(pairs_csv: Path) -> None:
    """NNabla's data iterators keep each epoch alive until the process ends (`atexit`)."""
    table = read_pairs(str(pairs_csv))
    with Loader(table, RECIPE, 8, workers=0) as loader:
        batches = loader.batches(loader.stream.draws(8 * k, 8) for k in range(5 * 60))
        for _ in islice(batches, 5 * 10):
            pass
        gc.collect()
        objects = len(gc.get_objects())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
        assert len(list(batches)) == 5 * 50
        gc.collect()
        assert len(gc.get_objects()) - objects < 500
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 8 << 10
