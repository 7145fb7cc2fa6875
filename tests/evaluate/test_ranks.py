"""An evaluation shared by several processes comes out as on one, to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.ranks import Ranks, join

BIN = Path(sys.executable).parent
WORKER = """
import json, sys
import numpy as np
from nnclip.errors import DataError
from nnclip.evaluate.embedding import embed_sentences
from nnclip.evaluate.ranks import join
from nnclip.evaluate.retrieval import retrieval_ranks

ranks = join()
rng = np.random.default_rng(1)
table = rng.normal(size=(600, 32)).astype(np.float32)

def embed(texts):
    rows = np.tanh(table[[int(text) for text in texts]] @ table.T)  # a product of the batch's shape
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

texts = embed_sentences(embed, [str(i) for i in range(600)], ranks, batch=16)
images = embed_sentences(embed, [str(i * 7 % 600) for i in range(600)], ranks, batch=16)
found = retrieval_ranks(images, texts, rng.permutation(600), ranks, block=(50, 90))

def fail():
    if ranks.rank == ranks.size - 1:
        raise DataError("the last one failed")
    return []

try:
    ranks.collect(fail)
except DataError as error:
    heard = str(error)
if ranks.rank == 0:
    print(json.dumps({
        "size": ranks.size, "texts": texts.tobytes().hex()[:4000], "heard": heard,
        "ranks": [found.of_image.tolist(), found.of_text.tolist()], **found.metrics(),
    }))
"""


def started(processes, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [str(BIN / "mpirun"), "-n", str(processes), "--oversubscribe", "--bind-to", "none"]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = {**os.environ, **allowed, "OMP_NUM_THREADS": "1"}
    prefix = command if processes > 1 else []
    done = subprocess.run(
        [*prefix, sys.executable, str(script)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_three_processes_give_what_one_gives(tmp_path):
    one, three = started(1, tmp_path), started(3, tmp_path)
    assert (one.pop("size"), three.pop("size")) == (1, 3)
    assert one == three and one["heard"] == "the last one failed"


def test_blocks_are_shared_whole_and_in_order():
    class World:
        def __init__(self, rank):
            self.rank, self.size = rank, 3

    blocks = list(range(10))
    shares = [Ranks(World(rank)).share(blocks) for rank in range(3)]
    assert [block for share in shares for block in share] == blocks
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_an_error_is_just_raised():
    def fail():
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        Ranks().collect(fail)


def test_an_mpirun_of_another_mpi_is_noticed(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "64")
    with pytest.raises(ConfigError, match=r"started 64 ranks, but MPI .* sees 1"):
        join()
