"""`nnclip bench`: a row for each precision, agreement with NNabla."""

import json
from pathlib import Path

import pytest

from nnclip.assets import asset
from nnclip.cli import main
from nnclip.engine import available_precisions


def test_agreement_is_printed_for_each_exact_precision(small_h5: Path, capsys):
    picture = str(asset("example.jpg"))
    for precision in available_precisions()[:-1]:  # int8 takes a calibration: see tests/engine
        flags = ["--agreement", "--json", "--precision", precision]
        assert main(["bench", "-m", str(small_h5), *flags, picture, picture]) == 0
        found = json.loads(capsys.readouterr().out)
        (row,) = found["rows"]
        assert row["precision"] == precision and found["count"] == 1
        assert row["images_per_second"] > 0 and row["texts_per_second"] > 0
        for tower in ("image", "text"):
            exact = precision == "fp32"
            assert row[f"{tower}_largest_error"] < (1e-5 if exact else 5e-2)
            assert row[f"{tower}_least_cosine"] > (1 - 1e-9 if exact else 0.999)


def test_one_picture_cannot_be_halved(small_h5: Path, capsys):
    assert main(["bench", "-m", str(small_h5), str(asset("example.jpg"))]) == 2
    assert "expected at least 2" in capsys.readouterr().err


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # of NNCF
def test_the_table_names_all_precisions(small_h5: Path, capsys):
    pictures = [str(asset("example.jpg"))] * 4
    assert main(["bench", "-m", str(small_h5), "--agreement", *pictures]) == 0
    table = capsys.readouterr().out
    for precision in available_precisions():
        assert f"\n{precision} " in table
    assert "least cosine" in table
