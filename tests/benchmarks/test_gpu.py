"""benchmarks/gpu.py: what it says without a GPU, and, tried out on a CPU, that it measures."""

import json
import math

import gpu
import pytest

from nnclip.engine.cuda.driver import Driver
from nnclip.engine.cuda.libraries import Finding


def test_without_a_gpu_it_says_that_nothing_was_measured(tmp_path, monkeypatch, capsys):
    none = Driver(Finding("driver", problem="no driver"))
    monkeypatch.setattr(gpu, "find_driver", lambda: none)
    assert gpu.main(["--out", str(tmp_path / "found.json")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("no NVIDIA GPU found: nothing was measured\n  no driver\n")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["measured"] is False and found["rows"] == [] and found["ratios"] == {}
    assert found == json.loads(said.splitlines()[-1])


def test_curves_are_compared_smoothed():
    fp32 = [4 - 0.05 * i for i in range(30)]
    assert gpu.farthest(fp32, fp32) == 0
    assert gpu.farthest([x * 1.02 for x in fp32], fp32) == pytest.approx(0.02)
    noisy = [x + 0.05 * (-1) ** i for i, x in enumerate(fp32)]
    assert gpu.farthest(noisy, fp32) < 0.002


@pytest.mark.torch
@pytest.mark.heavy
def test_contenders_agree_and_are_timed(tmp_path):
    flags = ["--context", "cpu", "--models", "tiny", "--batches", "2", "--step-batches", "4"]
    flags += ["--rounds", "1", "--curve-steps", "5", "--out", str(tmp_path / "found.json")]
    assert gpu.main(flags) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["measured"] and not found["skipped"]
    kinds = [(row["what"], row["implementation"]) for row in found["rows"]]
    both = ("nnclip", "torch")
    assert kinds == [(k, n) for k in ("images", "resident_images", "step") for n in both]
    assert all(row["agreement"]["largest_error"] < 1e-5 for row in found["rows"])
    curve = found["losses"]["tiny"]["fp32"]
    assert len(curve) == 5 and all(0 < loss < 10 for loss in curve)
    assert curve[0] == pytest.approx(math.log(4), rel=0.5)  # as far as chance: knows nothing yet
