"""Cameras' raw files are read by their previews, or developed; what cannot be read is named."""

import struct
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.extras import how
from nnclip.image import open_image
from nnclip.image.facts import facts_of
from nnclip.image.formats import begins_as_image, image_suffixes
from nnclip.image.listing import NotRead, image_files
from nnclip.image.raw import begins_as_raw, is_raw

BYTE, ASCII, SHORT, LONG = 1, 2, 3, 4
LETTERS = {BYTE: "B", SHORT: "H", LONG: "I"}
PREVIEW, SENSOR = (900, 600), (128, 96)
QUARTERS = ["red", "lime", "blue", "white"]  # from the top left, row by row


def quarters() -> Image.Image:
    """A colour in each quarter: it looks different however it is turned."""
    image = Image.new("RGB", (2, 2))
    for place, colour in enumerate(QUARTERS):
        image.paste(colour, (place % 2, place // 2, place % 2 + 1, place // 2 + 1))
    return image.resize(PREVIEW, Image.Resampling.NEAREST)


def directory(at: int, values: dict[int, tuple[int, bytes | list[int]]]) -> bytes:
    """A directory of a TIFF file that is written to this place, and its longer values behind it."""
    entries, behind = b"", b""
    after = at + 2 + 12 * len(values) + 4
    for tag, (kind, value) in sorted(values.items()):
        content = (
            value
            if isinstance(value, bytes)
            else struct.pack(f"<{len(value)}{LETTERS[kind]}", *value)
        )
        head = struct.pack("<HHI", tag, kind, len(value))
        if len(content) > 4:
            content, behind = (
                struct.pack("<I", after + len(behind)),
                behind + content + bytes(len(content) % 2),
            )
        entries += head + content.ljust(4, b"\0")
    return struct.pack("<H", len(values)) + entries + bytes(4) + behind


def raw_file(preview: Image.Image | None, orientation: int = 1, is_dng: bool = True) -> bytes:
    """As cameras write them: a thumbnail, and inside it a sensor's values and a preview."""
    width, height = SENSOR
    jpeg = BytesIO()
    if preview is not None:
        preview.save(jpeg, "JPEG", quality=95)
    thumbnail = np.full((16, 24, 3), 9, np.uint8).tobytes()
    values = np.full((height, width), 30_000, "<u2").tobytes()

    def image(size, bits, compression, photometric, at, length, more):
        return {
            256: (LONG, [size[0]]), 257: (LONG, [size[1]]), 258: (SHORT, bits),
            259: (SHORT, [compression]), 262: (SHORT, [photometric]), 273: (LONG, [at]),
            277: (SHORT, [len(bits)]), 278: (LONG, [size[1]]), 279: (LONG, [length]), **more,
        }  # fmt: skip

    def parts(places: list[int]) -> list[bytes]:
        inside = places[1:3] if preview else places[1:2]
        camera = {
            254: (LONG, [1]), 271: (ASCII, b"Pentax\0"), 272: (ASCII, b"K-1\0"),
            274: (SHORT, [orientation]), 306: (ASCII, b"2024:05:06 07:08:09\0"),
            330: (LONG, inside), **({50706: (BYTE, [1, 4, 0, 0])} if is_dng else {}),
        }  # fmt: skip
        mosaic = {254: (LONG, [0]), 33421: (SHORT, [2, 2]), 33422: (BYTE, [0, 1, 1, 2])}
        jpegs, eights = {254: (LONG, [1])}, [8, 8, 8]
        return [
            directory(places[0], image((24, 16), eights, 1, 2, places[3], len(thumbnail), camera)),
            directory(places[1], image(SENSOR, [16], 1, 32803, places[4], len(values), mosaic)),
            directory(places[2], image(PREVIEW, eights, 7, 6, places[5], jpeg.tell(), jpegs)),
            thumbnail, values, jpeg.getvalue(),
        ]  # fmt: skip

    lengths = [len(part) for part in parts([0] * 6)]
    places = [8 + sum(lengths[:number]) for number in range(6)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts(places))


def corners(image: Image.Image) -> list[str]:
    """The colours of the quarters."""
    width, height = image.size
    colours = {Image.new("RGB", (1, 1), name).getpixel((0, 0)): name for name in QUARTERS}
    found = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            pixel = np.array(image.convert("RGB").getpixel((x, y)))
            found.append(min(colours, key=lambda colour: np.abs(pixel - colour).sum()))
    return [colours[colour] for colour in found]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("side", [None, 100])
def test_the_preview_is_read_as_seen(orientation, side):
    turned = {1: [0, 1, 2, 3], 3: [3, 2, 1, 0], 6: [2, 0, 3, 1], 8: [1, 3, 0, 2]}[orientation]
    content = raw_file(quarters(), orientation)
    image = open_image(content, side=side)
    size = PREVIEW if orientation in (1, 3) else PREVIEW[::-1]
    assert image.size == (size if side is None else tuple(length // 2 for length in size))
    assert corners(image) == [QUARTERS[place] for place in turned]
    assert corners(open_image(content, as_seen=False)) == QUARTERS
    facts = facts_of(content)
    assert (facts.width, facts.height) == size
    assert (facts.camera, facts.taken) == ("Pentax K-1", "2024-05-06T07:08:09")


@pytest.mark.parametrize("orientation", [1, 6])
def test_without_a_large_preview_it_is_developed(orientation):
    image = open_image(raw_file(None, orientation))
    half = SENSOR[0] // 2, SENSOR[1] // 2
    assert image.size == (half if orientation == 1 else half[::-1])
    assert np.ptp(np.asarray(image), axis=(0, 1)).max() < 3  # one light on the whole sensor


def test_raw_files_are_told_from_tiff_files():
    assert is_raw(BytesIO(raw_file(quarters(), is_dng=False)))
    for pages in (1, 3):
        tiff, page = BytesIO(), quarters()
        page.save(tiff, "TIFF", save_all=True, append_images=[page] * (pages - 1))
        assert not is_raw(tiff)
    for start in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x01"):
        assert not is_raw(BytesIO(start))


@pytest.mark.parametrize(
    "start",
    [b"FUJIFILMCCD-RAW ", b"II*\0\x10\0\0\0CR\x02\0", b"\0\0\0\x18ftypcrx ", b"IIU\0\x18\0\0\0"],
)
def test_makers_own_beginnings_are_known(start):
    assert begins_as_raw(start) and begins_as_image(start)
    with pytest.raises(DataError, match="raw file, which LibRaw cannot read; is it complete"):
        open_image(start + bytes(200))


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.9])
def test_a_damaged_one_is_a_sentence(share):
    content = raw_file(quarters())
    with pytest.raises(DataError):
        open_image(content[: int(len(content) * share)])


def test_a_folder_of_them_is_listed(tmp_path):
    for name in ("a.DNG", "b.cr2", "c"):
        (tmp_path / name).write_bytes(raw_file(quarters()))
    assert [path.name for path in image_files(tmp_path)] == ["a.DNG", "b.cr2", "c"]


def test_without_rawpy_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setattr("nnclip.image.formats.can_read_raw", lambda: False)
    (tmp_path / "a.nef").write_bytes(raw_file(quarters()))
    not_read = NotRead()
    assert ".nef" not in image_suffixes() and image_files(tmp_path, not_read) == []
    assert not_read.told == f"1 .nef not read; {how('raw')} reads .nef"
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "a.nef")
    assert "a camera's raw file, which needs a plugin: " + how("raw") in str(caught.value)
