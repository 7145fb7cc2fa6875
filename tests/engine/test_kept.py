"""Quantised graphs on disk: found again, replaced where damaged, bounded in number."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.checksums import file_checksum
from nnclip.engine import agreement, compile_graph, compile_quantised, emit_graph, kept
from nnclip.engine.sensitive import quantised_within
from tests.engine.conftest import mlp


@pytest.fixture
def made(weights):
    """Arrays to calibrate on, how often a graph was quantised, and what quantises it."""
    x, y = mlp(2, weights())
    arrays = {"x": np.random.default_rng(0).normal(size=(8, *x.shape[1:])).astype(np.float32)}
    graph, calls = emit_graph({"x": x}, {"y": y}), []

    def make():
        calls.append(1)
        return quantised_within(graph, arrays, 0.0)

    return arrays, calls, make


def test_the_second_process_finds_what_the_first_made(made, tmp_path):
    arrays, calls, make = made
    place = tmp_path / kept.key_of("weights", arrays)
    first, drift = kept.kept(place, make)
    again, found = kept.kept(place, make)
    assert len(calls) == 1 and found == drift
    assert (first.specs, first.outputs) == (again.specs, again.outputs)
    answers = [compile_quantised(g)(**arrays)["y"] for g in (first, again)]
    np.testing.assert_array_equal(*answers)
    assert [p.name for p in tmp_path.iterdir()] == [place.name]  # nothing unfinished lies there


def test_what_was_compiled_is_read_again(made, tmp_path):
    arrays, _, make = made
    place = tmp_path / ("0" * 32)
    wanted = compile_quantised(kept.kept(place, make)[0])(**arrays)["y"]
    times = []
    for _ in range(2):
        graph = kept.compile_kept(place, kept.kept(place, make)[0])
        np.testing.assert_array_equal(graph(**arrays)["y"], wanted)
        times.append([p.stat().st_mtime_ns for p in sorted((place / kept.COMPILED).iterdir())])
    assert times[0] == times[1] and len(times[0]) == 2  # the file and its checksum, not made anew


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda c: c[: len(c) // 2], _flipped])
@pytest.mark.parametrize("name", [kept.GRAPH, kept.WEIGHTS, kept.ABOUT])
def test_a_damaged_one_is_made_again(made, tmp_path, name, damage, caplog):
    arrays, calls, make = made
    place = tmp_path / ("0" * 32)
    wanted = compile_quantised(kept.kept(place, make)[0])(**arrays)["y"]
    file = place / name
    file.write_bytes(damage(file.read_bytes()))
    found = compile_quantised(kept.kept(place, make)[0])(**arrays)["y"]
    assert len(calls) == 2 and "chooses its scales again" in caplog.text
    np.testing.assert_array_equal(found, wanted)
    kept.kept(place, make)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [lambda _: b"", lambda c: c[: len(c) // 2], _flipped])
@pytest.mark.parametrize("suffix", [".blob", ".crc32"])
def test_what_was_compiled_and_is_damaged_is_compiled_again(made, tmp_path, suffix, damage):
    arrays, calls, make = made
    place = tmp_path / ("0" * 32)
    wanted = kept.compile_kept(place, kept.kept(place, make)[0])(**arrays)["y"]
    (file,) = (place / kept.COMPILED).glob(f"*{suffix}")
    file.write_bytes(damage(file.read_bytes()))
    found = kept.compile_kept(place, kept.kept(place, make)[0])(**arrays)["y"]
    np.testing.assert_array_equal(found, wanted)
    (blob,) = (place / kept.COMPILED).glob("*.blob")
    assert blob.with_suffix(".crc32").read_text() == file_checksum(blob)
    assert len(calls) == 1


def test_only_so_many_are_kept(made, tmp_path):
    _, _, make = made
    for number in range(kept.MOST + 2):
        (tmp_path / f"{number:032}").mkdir()
    kept.kept(tmp_path / ("f" * 32), make)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len(names) == kept.MOST and names[-1] == "f" * 32


def test_a_folder_that_cannot_be_written_costs_only_time(made, tmp_path):
    arrays, calls, make = made
    blocked = tmp_path / "file"
    blocked.write_text("")
    place = blocked / "int8" / ("0" * 32)
    for _ in range(2):
        graph, _ = kept.kept(place, make)
        assert np.isfinite(kept.compile_kept(place, graph)(**arrays)["y"]).all()
    assert len(calls) == 2


def test_a_damaged_one_that_cannot_be_removed_costs_only_time(made, tmp_path, monkeypatch):
    arrays, calls, make = made
    place = tmp_path / ("0" * 32)
    wanted = compile_quantised(kept.kept(place, make)[0])(**arrays)["y"]
    (place / kept.ABOUT).write_text("{")
    monkeypatch.setattr(kept.shutil, "rmtree", lambda *_, **__: None)
    np.testing.assert_array_equal(
        compile_quantised(kept.kept(place, make)[0])(**arrays)["y"], wanted
    )
    assert len(calls) == 2


def test_the_key_tells_weights_and_arrays_apart(made):
    arrays, _, _ = made
    keys = {
        kept.key_of("a", arrays),
        kept.key_of("b", arrays),
        kept.key_of("a", {"x": arrays["x"] + 1}),
        kept.key_of("a", {"z": arrays["x"]}),
    }
    assert len(keys) == 4 and all(len(key) == 32 for key in keys)


def test_products_with_outliers_stay_in_float():
    """A channel a thousand times the others, of little weight, leaves these few steps of int8."""
    random = np.random.default_rng(0)
    x = hidden = nn.Variable((2, 16))
    for number in range(6):
        weights, scale = random.normal(size=(16, 16)) / 4, np.ones(16)
        if number in (2, 3):  # what product 2 makes large, product 3 makes small
            scale[5] = 3000
        weights = weights * scale if number == 2 else weights / scale[:, None]
        hidden = F.affine(hidden, nn.Variable.from_numpy_array(weights.astype(np.float32)))
        hidden = F.leaky_relu(hidden, 0.5) if number < 5 else hidden
    arrays = {"x": random.normal(size=(16, 16)).astype(np.float32)}
    graph = emit_graph({"x": x}, {"y": hidden})
    _, poor = quantised_within(graph, arrays, 0.0)
    better, drift = quantised_within(graph, arrays, 0.999)
    assert poor.least_cosine < 0.99
    assert drift.least_cosine > 0.999
    wanted = compile_graph({"x": x}, {"y": hidden})(**arrays)["y"]
    got = compile_quantised(better)(**arrays)["y"]
    assert agreement(got, wanted).least_cosine == pytest.approx(drift.least_cosine, abs=1e-6)
