"""Files made to lie or explode: one sentence, in a moment and with little memory."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnclip.convert.safetensors_files import read_safetensors
from nnclip.convert.source import open_source
from nnclip.convert.torch_files import read_torch
from nnclip.errors import CheckpointError

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x04tQ"  # 4 values


def archive(path: Path, program: bytes, **entries: bytes) -> Path:
    """A zip file as torch writes it, with this pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        file.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())
        for name, content in entries.items():
            file.writestr(f"a/{name}", content, zipfile.ZIP_DEFLATED)
    return path


def view(offset: int, shape: bytes, strides: bytes) -> bytes:
    """{"w": a view of the storage}"""
    return b"}Vw\n" + TENSOR + b"(" + STORAGE + b"K" + bytes([offset]) + shape + strides + b"tRs"


def test_a_plain_view_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", view(1, b"K\x03\x85", b"K\x01\x85"))
    np.testing.assert_array_equal(open_source(path).tensors["w"].read(), [1, 2, 3])


DOUBLED = b"N" + b"2\x86" * 64  # None, then pairs of what stands there
MODULES = b"c__torch__\nM\n)\x81}Vx\nNsb" + b"q\x01c__torch__\nM\n)\x81}Va\nh\x01sVb\nh\x01sb" * 60
PROGRAMS = {
    "a key 200,000 deep": (b"}" + b")" + b"\x85" * 200_000 + b"K\x01s", "expected the name"),
    "a key of doubled pairs": (b"}" + DOUBLED + b"K\x01s", "expected the name"),
    "a storage's key of doubled pairs": (
        b"(Vstorage\nctorch\nFloatStorage\n" + DOUBLED + b"Vcpu\nK\x04tQ",
        "unknown kind of storage",
    ),
    "an id of doubled pairs": (DOUBLED + b"Q", "unknown kind of storage"),
    "modules inside each other 60 times": (MODULES, "tree of modules"),
    "an integer as key": (b"}K\x05K\x01s", "the entries 5, expected"),
    "None as key": (b"}NK\x01s", "found the key None"),
    "a list as state": (b"]", "found a list"),
    "a step of 0": (view(0, b"J\x00\x00\x00\x01K\x02\x86", b"K\x00K\x00\x86"), "found a view"),
    "a view beyond the end": (view(2, b"K\x03\x85", b"K\x01\x85"), "ends beyond"),
    "axes of a text": (view(0, b"Vabc\n", b"K\x01\x85"), "found the axes"),
    "bytes told in advance": (b"\x96" + (1 << 40).to_bytes(8, "little"), "damaged"),
    "a text told in advance": (b"\x8d" + (1 << 40).to_bytes(8, "little"), "bytes more"),
    "copies of copies": (
        b"(" + b"(Vk\nNt" * 100_000 + b"lq\x00ccollections\nOrderedDict\nq\x01"
        + b"h\x01h\x00\x85R" * 2000,
        "entries, expected fewer",
    ),
    "fp8": (b"ctorch._utils\n_rebuild_tensor_v3\n", "fp8"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_pickle_that_explodes_is_a_sentence(kind: str, tmp_path: Path) -> None:
    program, words = PROGRAMS[kind]
    with pytest.raises(CheckpointError, match=words) as caught:
        open_source(archive(tmp_path / "a.pt", program))
    assert len(str(caught.value)) < 600


def test_a_packed_byte_order_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", b"}", byteorder=bytes(1 << 24))
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch(path)


def test_every_operation_that_torch_needs_is_known() -> None:
    from nnclip.plain_pickle import PlainUnpickler

    refused = {pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.EXT1, pickle.BYTEARRAY8}
    assert not {code[0] for code in refused} & PlainUnpickler.dispatch.keys()


def safetensors(path: Path, header: object, content: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(begin: Any, end: Any, dtype: str = "F32", shape: Any = None) -> dict[str, Any]:
    count = [(end - begin) // 4] if isinstance(begin, int) and isinstance(end, int) else [4]
    return {"dtype": dtype, "shape": shape or count, "data_offsets": [begin, end]}


HEADERS = {
    "negative offsets": ({"a": entry(-8, 8)}, "at"),
    "overlapping tensors": ({"a": entry(0, 12), "b": entry(8, 16)}, "'b' from byte 8"),
    "a gap": ({"a": entry(0, 4), "b": entry(8, 16)}, "'b' from byte 8"),
    "bytes behind": ({"a": entry(0, 8)}, "but 16 behind the header"),
    "offsets in words": ({"a": entry("0", "16")}, "of shape"),
    "half bytes": ({"a": entry(0.0, 16.0)}, "of shape"),
    "a negative axis": ({"a": entry(0, 16, shape=[-2, -2])}, "of shape"),
    "a key twice": (
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{}}',
        "key 'a' twice",
    ),
    "a deep header": (b"[" * 100_000, "levels deep"),
    "a list": ([], "the header"),
    "fp8": ({"a": entry(0, 16, "F8_E4M3", [16])}, "F8_E4M3', fp8 or narrower and not supported"),
    "an unknown type": ({"a": entry(0, 16, "C64", [2])}, "'C64', not supported"),
    "an unhashable type": ({"a": {**entry(0, 16), "dtype": ["F32"]}}, "not supported"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_lies_is_a_sentence(kind: str, tmp_path: Path) -> None:
    header, words = HEADERS[kind]
    path = safetensors(tmp_path / "a.safetensors", header)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_safetensors(path)
    assert str(caught.value).count(str(path)) == 1


def test_a_header_that_fits_is_read(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "a.safetensors", {"b": entry(8, 16), "a": entry(0, 8)})
    assert {k: t.read().shape for k, t in read_safetensors(path).items()} == {"b": (2,), "a": (2,)}
