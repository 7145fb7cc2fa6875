"""Which file of a folder is converted."""

from pathlib import Path

import pytest

from nnclip.convert.source import WEIGHTS, _file_of


@pytest.mark.parametrize("name", WEIGHTS)
def test_open_clips_file_is_preferred_to_timms_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert _file_of(tmp_path).name == name
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    assert _file_of(tmp_path).name == "open_clip_model.safetensors"
