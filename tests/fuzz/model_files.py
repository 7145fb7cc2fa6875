"""What is tried on model files and training checkpoints: how they are made, damaged and read."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import nnabla as nn
import numpy as np

from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from nnclip.training.checkpoint import read_checkpoint, write_checkpoint
from nnclip.weights.model import ModelWeights, load_model, save_model
from tests.fuzz.driver import Subject
from tests.fuzz.mutations import damage_file

TINY = ClipConfig(
    embed=8,
    image=VitConfig(Preprocess(16), patch=8, blocks=BlockConfig(16, 2, 2, 32)),
    text=TextConfig(vocabulary=30, context=5, blocks=BlockConfig(8, 2, 2, 16)),
)


def digest(arrays: dict[str, np.ndarray], *more: Any) -> str:
    """Equal for equal names, shapes, values and what else is given."""
    found = hashlib.sha256(repr(more).encode())
    for name, array in arrays.items():
        found.update(f"{name} {array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def read_model(folder: Path) -> str:
    """Both ways of loading; they must agree."""
    answers = []
    for mapped in (False, True):
        model = load_model(folder / "model.h5", mapped=mapped)
        arrays = {k: v.d for k, v in model.variables().items()}
        frozen = [k for k, v in model.variables().items() if not v.need_grad]
        answers.append(digest(arrays, model.config, model.metadata, frozen))
    assert answers[0] == answers[1]
    return answers[0]


def write_own(folder: Path) -> None:
    extra = {"tokenizer": "a vocabulary " * 500, "languages": "en de"}
    model = ModelWeights(TINY, make_parameters(TINY, seed=1), {})
    save_model(folder / "model.h5", model, extra=extra)


def write_published(folder: Path) -> None:
    """As NNabla itself writes: no check sums, the old form of HDF5."""
    with nn.parameter_scope("", scope={}):
        for name, variable in flatten(make_parameters(TINY, seed=1)).items():
            nn.parameter.set_parameter(name, variable)
        nn.save_parameters(str(folder / "model.h5"))


def damage_hdf5(path: Path, random: Random) -> str:
    """Damage the bytes of a file, or let HDF5 itself write something odd into it."""
    if random.random() < 0.7:
        return damage_file(path, random)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = random.choice([n for n in names if isinstance(file[n], h5py.Dataset)])
        how = random.choice(list(ODD))
        ODD[how](file, name, random)
    return f"{how} at {name}"


def _replaced(make: Callable[[h5py.File, str, tuple[int, ...]], Any]) -> Callable[..., None]:
    def change(file: h5py.File, name: str, random: Random) -> None:
        shape = file[name].shape
        del file[name]
        make(file, name, shape)

    return change


def _virtual(source: str | None) -> Callable[[h5py.File, str, tuple[int, ...]], None]:
    def make(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
        layout = h5py.VirtualLayout(shape=shape, dtype="f4")
        if shape:
            layout[...] = h5py.VirtualSource(source or file.filename, "visual/proj", shape=shape)
        file.create_virtual_dataset(name, layout)

    return make


def _chunked(**options: Any) -> Callable[[h5py.File, str, tuple[int, ...]], None]:
    """Declared, and never written."""

    def make(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
        file.create_dataset(name, shape=shape or (1,), dtype="f4", chunks=True, **options)

    return make


def _bomb(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """A chunk that says it is small and unpacks to 2 GB."""
    import zlib

    made = file.create_dataset(name, (4,), "f4", chunks=(4,), compression="gzip")
    packer = zlib.compressobj(1)
    zeros = bytes(1 << 24)
    packed = b"".join(packer.compress(zeros) for _ in range(16)) + packer.flush()
    made.id.write_direct_chunk((0,), packed)


def _external(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    size = 4 * int(np.prod(shape))
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, max(size, 1))])


def _attribute(file: h5py.File, name: str, random: Random) -> None:
    key = random.choice(("index", "need_grad", "crc32", "nnclip.resolution", "nnclip.image_heads"))
    odd = random.choice(
        [-1, 2.5, "a", "a" * 1000, [1, 2], np.zeros((0,)), np.ones((30, 30)), 1 << 40, float("nan"),
         h5py.Empty("f4"), ["a", "b"], True]
    )  # fmt: skip
    item = file if key.startswith("nnclip.") else file[name]
    item.attrs[key] = odd


def _group_cycle(file: h5py.File, name: str, random: Random) -> None:
    group = file
    for level in range(30):
        group = group.create_group(f"level{level}")
    group["again"] = file["level0"]
    file["other"] = file[name]


ODD: dict[str, Callable[[h5py.File, str, Random], None]] = {
    "external values": _replaced(_external),
    "virtual values": _replaced(_virtual(None)),
    "virtual values of no file": _replaced(_virtual("nowhere.h5")),
    "an external link": _replaced(
        lambda f, n, s: f.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/a"))
    ),
    "a soft link": _replaced(lambda f, n, s: f.__setitem__(n, h5py.SoftLink("/visual/proj"))),
    "a type": _replaced(lambda f, n, s: f.__setitem__(n, np.dtype("f4"))),
    "references": _replaced(
        lambda f, n, s: f.create_dataset(n, (1,), dtype=h5py.ref_dtype)
    ),
    "unwritten values": _replaced(lambda f, n, s: f.create_dataset(n, s, "f4")),
    "unwritten terabytes": _replaced(lambda f, n, s: f.create_dataset(n, (1 << 38,), "f4")),
    "unwritten chunks": _replaced(_chunked()),
    "unwritten packed chunks": _replaced(_chunked(compression="gzip")),
    "chunks of other filters": _replaced(
        lambda f, n, s: f.create_dataset(n, data=np.ones((64,), "f4"), compression="lzf")
    ),
    "terabytes of chunks": _replaced(
        lambda f, n, s: f.create_dataset(n, (1 << 38,), "f4", chunks=(1 << 20,))
    ),
    "one huge chunk": _replaced(
        lambda f, n, s: f.create_dataset(n, (4,), "f4", chunks=(1 << 29,), maxshape=(None,))
    ),
    "a chunk that explodes": _replaced(_bomb),
    "no values": _replaced(lambda f, n, s: f.create_dataset(n, data=h5py.Empty("f4"))),
    "words": _replaced(lambda f, n, s: f.create_dataset(n, data=b"words")),
    "long doubles": _replaced(lambda f, n, s: f.create_dataset(n, data=np.ones(s, np.longdouble))),
    "NaN": _replaced(lambda f, n, s: f.create_dataset(n, data=np.full(s, np.nan, "f4"))),
    "cycles": _group_cycle,
    "an attribute": _attribute,
}  # fmt: skip


def damage_model(folder: Path, random: Random) -> str:
    return damage_hdf5(folder / "model.h5", random)


def write_run(folder: Path) -> None:
    arrays = {
        "parameters/a/b": np.arange(600, dtype=np.float32),
        "optimiser/a/b/first": np.ones(600, np.float32),
        "optimiser/steps": np.array(3),
    }
    write_checkpoint(folder / "step-000000003.h5", arrays, {"step": 3, "run": {"best": None}})


def damage_run(folder: Path, random: Random) -> str:
    """Every second time with a check sum that fits, as somebody with bad intent would."""
    path = folder / "step-000000003.h5"
    how = damage_hdf5(path, random)
    if random.random() < 0.5 and path.stat().st_size > 512:
        content = path.read_bytes()
        path.write_bytes(hashlib.sha256(content[512:]).hexdigest().encode() + content[64:])
        how += ", summed anew"
    return how


def read_run(folder: Path) -> str:
    found = read_checkpoint(folder / "step-000000003.h5")
    return digest(found.arrays, found.state)


OWN_H5 = Subject(write_own, damage_model, read_model)
OWN_H5_BYTES = Subject(
    write_own, lambda folder, random: damage_file(folder / "model.h5", random), read_model, True
)
PUBLISHED_H5 = Subject(write_published, damage_model, read_model)
CHECKPOINT = Subject(write_run, damage_run, read_run)
CHECKPOINT_BYTES = Subject(
    write_run,
    lambda folder, random: damage_file(folder / "step-000000003.h5", random),
    read_run,
    True,
)
