"""Files that open well and still cannot be a model, and disks that refuse: one error each."""

import random
import subprocess
import sys

import h5py
import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import make_parameters
from nnclip.image import Preprocess
from nnclip.weights.h5 import read_h5
from nnclip.weights.model import ModelWeights, load_model, save_model

TINY = ClipConfig(
    embed=8,
    image=VitConfig(preprocess=Preprocess(16), patch=8, blocks=BlockConfig(16, 2, 2, 32)),
    text=TextConfig(vocabulary=30, context=5, blocks=BlockConfig(8, 12, 2, 16)),
)
BLOCKS = "visual/transformer/resblocks"


@pytest.fixture
def path(tmp_path):
    """A good model file."""
    save_model(tmp_path / "model.h5", ModelWeights(TINY, make_parameters(TINY, seed=1), {}))
    return tmp_path / "model.h5"


def put(name, value):
    """A change: other values under this name."""

    def change(file):
        del file[name]
        file[name] = value

    return change


def tell(key, value):
    """A change: other metadata."""
    return lambda file: file.attrs.__setitem__(f"nnclip.{key}", value)


BAD = {
    "words": (put("visual/proj", b"words"), ("visual/proj", "expected numbers")),
    "complex": (put("visual/proj", np.zeros((16, 8), "c8")), ("visual/proj", "complex64")),
    "booleans": (put("visual/proj", np.zeros((16, 8), "?")), ("visual/proj", "bool")),
    "no values": (put("visual/proj", h5py.Empty("f4")), ("visual/proj", "no such tensor")),
    "a link to nowhere": (
        put("visual/proj", h5py.SoftLink("/x")),
        ("visual/proj", "another place"),
    ),
    "empty patches": (put("visual/conv1/W", np.zeros((16, 3, 0, 0), "f4")), ("conv1/W", "0, 0")),
    "no tokens": (
        put("visual/positional_embedding", np.zeros((0, 16), "f4")),
        ("visual/positional_embedding", "(0, 16)"),
    ),
    "a block too far": (
        lambda file: file.move(f"{BLOCKS}/1", f"{BLOCKS}/10000000"),
        (f"{BLOCKS}/1/", "missing", "(16,)"),
    ),
    "an index of words": (
        lambda file: file["visual/proj"].attrs.__setitem__("index", "first"),
        ("damaged or foreign",),
    ),
    "unknown activation": (tell("activation", "swish"), ("activation", "swish", "quick_gelu")),
    "heads in words": (tell("image_heads", "two"), ("image_heads", "'two'", "number")),
    "two numbers of heads": (tell("text_heads", [1, 2]), ("text_heads", "[1, 2]", "number")),
    "no heads": (tell("image_heads", 0), ("image_heads", "0", "at least 1")),
    "epsilon that is no number": (tell("layer_norm_eps", np.nan), ("layer_norm_eps", "nan")),
    "negative resolution": (tell("resolution", -3), ("resolution", "-3", "at least 8")),
    "another resolution": (tell("resolution", 80), ("visual/positional_embedding", "(101, 16)")),
    "half a head": (tell("image_heads", 2.5), ("image_heads", "2.5", "integer")),
    "one mean": (tell("mean", [0.5]), ("mean", "[0.5]", "three numbers")),
    "a spread of nothing": (tell("std", [0.5, 0.0, 0.5]), ("std", "three numbers")),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_error_names_file_tensor_found_and_expected(kind, path):
    change, words = BAD[kind]
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message and message.count(str(path)) == 1
    assert all(word in message for word in words), message


def test_no_damage_gives_another_error_or_a_crash(path):
    """Bytes changed, and files cut, at 300 places."""
    content, place = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(place.choice((1, 8))):
            damaged[place.randrange(len(damaged))] = place.randrange(256)
        path.write_bytes(damaged[: place.choice((None, place.randrange(len(damaged))))])
        try:
            load_model(path)
        except CheckpointError:
            refused += 1
    assert refused > 150


KINDS_OF_NUMBERS = {
    "integers": {"data": np.arange(128).reshape(16, 8)},
    "float64": {"data": np.arange(128.0).reshape(16, 8)},
    "float16": {"data": np.arange(128, dtype="f2").reshape(16, 8)},
    "big endian": {"data": np.arange(128, dtype=">f4").reshape(16, 8)},
    "compressed": {"data": np.arange(128, dtype="f4").reshape(16, 8), "compression": "gzip"},
}


@pytest.mark.parametrize("kind", KINDS_OF_NUMBERS)
@pytest.mark.parametrize("mapped", [False, True])
def test_other_kinds_of_numbers_are_read_as_float32(kind, mapped, path):
    with h5py.File(path, "r+") as file:
        del file["visual/proj"]
        file.create_dataset("visual/proj", **KINDS_OF_NUMBERS[kind])
    found = load_model(path, mapped=mapped).variables()["visual/proj"].d
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.arange(128.0).reshape(16, 8))


def test_twelve_blocks_keep_their_order(path):
    """By the alphabet block 10 would come before block 2."""
    names = list(load_model(path).variables())
    first = [name for name in names if name.startswith("transformer/") and "ln_1/W" in name]
    assert [int(name.split("/")[2]) for name in first] == list(range(12))
    assert list(read_h5(path).arrays) == names


def test_half_a_model_is_the_model_rounded(path, tmp_path):
    model = load_model(path)
    save_model(tmp_path / "half.h5", model, half=True)
    half = load_model(tmp_path / "half.h5")
    assert half.config == model.config
    for name, variable in model.variables().items():
        np.testing.assert_array_equal(half.variables()[name].d, np.float16(variable.d))


FULL_DISK = """
import resource, sys
import numpy as np
from nnclip.errors import CheckpointError
from nnclip.weights.h5 import write_h5
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    write_h5(sys.argv[1], {"w": np.ones(100_000, np.float32), "v": np.ones(9, np.float32)})
except CheckpointError as error:
    sys.exit(0 if sys.argv[1] in str(error) and "cannot be written" in str(error) else str(error))
sys.exit("it was written")
"""


def test_a_disk_that_fills_up_leaves_the_old_file(path):
    """The system itself refuses: the process may not write files beyond 20 kB."""
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
