"""Images and texts as they stand in requests."""

import base64

import pytest

from nnclip.serve.faults import Refused
from nnclip.serve.inputs import decoded

CONTENT = bytes(range(256))
PACKED = base64.b64encode(CONTENT).decode()
LINES = base64.encodebytes(CONTENT).decode()


@pytest.mark.parametrize(
    "value",
    [
        PACKED,
        LINES,
        LINES.replace("\n", "\r\n "),
        f"data:image/png;base64,{PACKED}",
        f"data:;base64,{PACKED}",
        f"DATA:image/jpeg;charset=utf-8;BASE64,{LINES}",
    ],
)
def test_base64_is_read_however_it_is_written(value):
    assert decoded(value, "input").content == CONTENT


@pytest.mark.parametrize(
    "value",
    [
        PACKED[:-1],  # no padding
        PACKED[:-3],
        PACKED[:40] + "=" + PACKED[41:],
        PACKED[:40] + "-_" + PACKED[42:],  # of the alphabet for addresses
        PACKED[:40] + "\N{GREEK SMALL LETTER ALPHA}" + PACKED[41:],
        PACKED[:40] + "\0" + PACKED[41:],
        f"data:image/png,{PACKED}",
        f"data:image/png;base64;{PACKED}",
        "A",
    ],
)
def test_what_is_no_base64_is_refused(value):
    with pytest.raises(Refused, match=r"^input: found .*, expected "):
        decoded(value, "input")
