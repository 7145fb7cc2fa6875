"""Model files, training checkpoints and foreign checkpoints: a right answer or a sentence."""

from pathlib import Path

import pytest

from tests.fuzz.driver import fuzz

SHORT, LONG = range(12), range(12, 1000)
SUBJECTS = [
    "model_files:OWN_H5",
    "model_files:OWN_H5_BYTES",
    "model_files:PUBLISHED_H5",
    "model_files:CHECKPOINT",
    "model_files:CHECKPOINT_BYTES",
    "foreign_files:TOKENIZER",
    *(
        pytest.param(f"foreign_files:{name}", marks=pytest.mark.torch)
        for name in ("TORCH", "LEGACY_TORCH", "SAFETENSORS", "CONFIG", "OPEN_CLIP_CONFIG")
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("cases", [SHORT, pytest.param(LONG, marks=pytest.mark.long)], ids=str)
def test_damage_gives_a_right_answer_or_a_sentence(
    subject: str, cases: range, tmp_path: Path
) -> None:
    found = fuzz(f"tests.fuzz.{subject}", tmp_path, cases)
    assert not found.faults
    assert found.right + found.refused == len(cases) and found.refused > 0
