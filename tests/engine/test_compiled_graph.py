"""Compiled graphs that are not CLIP: any batch, any thread, and clear errors."""

import os
from concurrent.futures import ThreadPoolExecutor

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import (
    available_precisions,
    compile_emitted,
    compile_graph,
    default_precision,
    emit_graph,
    interpret_graph,
    unsupported_ops,
)
from nnclip.engine.precision import lift_hold, sums_int8_exactly
from nnclip.errors import ConfigError, DataError, UnsupportedOpError


def compiled(network, weights, **options):
    x, y = network(2, weights())
    return compile_graph({"x": x}, {"y": y}, **options)


def reference(network, weights, run_nnabla, array):
    x, y = network(len(array), weights())
    return run_nnabla({x: array}, y)


def inputs(network, weights, batch, seed=0):
    shape = network(2, weights())[0].shape[1:]
    return np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_any_batch_equals_nnabla_also_when_cut(network, weights, run_nnabla, batch):
    graph = compiled(network, weights, chunk=4)
    x = inputs(network, weights, batch)
    wanted = reference(network, weights, run_nnabla, x)
    np.testing.assert_allclose(graph(x=x)["y"], wanted, rtol=1e-4, atol=1e-5)


def test_interpreted_equals_compiled_for_any_batch(network, weights):
    x, y = network(3, weights())
    interpreted = interpret_graph({"x": x}, {"y": y})
    array = inputs(network, weights, 7)
    wanted = compiled(network, weights)(x=array)["y"]
    np.testing.assert_allclose(interpreted(x=array)["y"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif("bf16" not in available_precisions(), reason="this processor lacks bf16")
def test_bf16_points_the_same_way(network, weights, run_nnabla):
    x = inputs(network, weights, 8)
    got = compiled(network, weights, precision="bf16")(x=x)["y"]
    wanted = reference(network, weights, run_nnabla, x)
    cosine = (got * wanted).sum() / np.linalg.norm(got) / np.linalg.norm(wanted)
    assert cosine > 0.999
    assert not np.array_equal(got, wanted)


@pytest.mark.parametrize("latency", [True, False])
def test_many_threads_get_their_own_answers(network, weights, latency):
    graph = compiled(network, weights, latency=latency, chunk=4)
    batches = [inputs(network, weights, 1 + i % 6, seed=i) for i in range(24)]
    wanted = [graph(x=b)["y"] for b in batches]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda b: graph(x=b)["y"], batches))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options, requests", [({}, 1), ({"streams": 2, "threads": 2}, 2)])
def test_streams_are_how_many_calls_run_side_by_side(network, weights, options, requests):
    requests = min(requests, len(os.sched_getaffinity(0)))  # a core has one stream at most
    graph = compiled(network, weights, chunk=2, **options)
    properties = graph._model.get_property
    assert properties("OPTIMAL_NUMBER_OF_INFER_REQUESTS") == requests == graph._requests.qsize()
    assert properties("NUM_STREAMS") == requests
    x = inputs(network, weights, 7)
    np.testing.assert_allclose(
        graph(x=x)["y"], compiled(network, weights)(x=x)["y"], rtol=1e-5, atol=1e-6
    )
    assert graph._requests.qsize() == requests, "a request was not handed back"


@pytest.mark.parametrize("latency", [True, False])
def test_several_graphs_share_the_processor(network, weights, latency):
    """Each may use every core, none more threads than there are cores."""
    graphs = [compiled(network, weights, latency=latency) for _ in range(3)]
    cores = len(os.sched_getaffinity(0))
    assert all(g._model.get_property("INFERENCE_NUM_THREADS") <= cores for g in graphs)
    x = inputs(network, weights, 8)
    with ThreadPoolExecutor(3) as pool:
        for got in pool.map(lambda graph: [graph(x=x)["y"] for _ in range(20)], graphs):
            for y in got:
                np.testing.assert_allclose(y, got[0], rtol=1e-5, atol=1e-6)
    threads = len(os.listdir("/proc/self/task"))
    graphs += [compiled(network, weights, latency=latency) for _ in range(3)]
    for graph in graphs:
        graph(x=x)
    # a lone core's graph has a second thread, which hands the work over
    assert len(os.listdir("/proc/self/task")) <= threads + 3 * max(cores, 2)


def test_a_compiled_graph_is_found_in_its_cache(network, weights, tmp_path):
    x = inputs(network, weights, 3)
    first = compiled(network, weights, cache_dir=tmp_path)(x=x)["y"]
    kept = sorted(path.name for path in tmp_path.iterdir())
    again = compiled(network, weights, cache_dir=tmp_path)
    assert again._model.get_property("LOADED_FROM_CACHE")
    assert kept and sorted(path.name for path in tmp_path.iterdir()) == kept
    np.testing.assert_array_equal(again(x=x)["y"], first)


def test_a_failing_call_hands_its_request_back(network, weights):
    graph = compiled(network, weights)
    for _ in range(3):
        with pytest.raises(DataError):
            graph(x=np.ones((1, 1), np.float32))
    x = inputs(network, weights, 2)
    assert graph(x=x)["y"].shape[0] == 2


def test_a_piece_that_fails_leaves_no_request_running(weights):
    w = weights()
    x = y = nn.Variable((2, 400))
    for _ in range(20):
        y = F.tanh(F.affine(y, w(400, 400, scale=0.05)))
    graph = compile_graph({"x": x}, {"y": y}, streams=2, threads=2, chunk=512)
    array = np.ones((1024, 400), np.float32)
    wanted = graph(x=array)["y"]
    with pytest.raises(RuntimeError):
        graph._run_pieces([[array[:512]], [array[:512, :7]]])
    np.testing.assert_array_equal(graph(x=array)["y"], wanted)


def test_arrays_are_taken_instead_of_what_parameters_hold(weights):
    w = weights()
    x, table = nn.Variable((2, 6)), w(2, 6, 4)
    first, _ = F.split(table)
    y = F.affine(x, first) + F.reshape(F.transpose(table, (2, 0, 1))[:, :1, :1], (1, 4))
    values = np.random.default_rng(1).normal(size=(2, 6, 4)).astype(np.float32)
    table.data.zero()
    graph = compile_emitted(emit_graph({"x": x}, {"y": y}, arrays={table: values}))
    array = np.ones((3, 6), np.float32)
    np.testing.assert_allclose(
        graph(x=array)["y"], array @ values[0] + values[0, 0], rtol=1e-5, atol=1e-6
    )


def test_an_intermediate_value_can_be_an_input(weights, run_nnabla):
    w = weights()
    x = nn.Variable((2, 6))
    middle = F.tanh(F.affine(x, w(6, 4)))
    y = F.affine(middle, w(4, 3))
    graph = compile_graph({"middle": middle}, {"y": y})
    array = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(graph(middle=array)["y"], array @ w.made[1].d, rtol=1e-5)


@pytest.mark.parametrize("layer", ["embed", "affine", "addition", "convolution"])
def test_later_changes_of_the_weights_do_not_reach_the_graph(weights, layer):
    w = weights()
    table = w(60, 40)
    if layer == "embed":
        x, array = nn.Variable((2, 3)), np.zeros((2, 3), np.int32)
        y = F.embed(x, table)
    elif layer == "convolution":
        x, array = nn.Variable((2, 40, 3, 3)), np.ones((2, 40, 3, 3), np.float32)
        y = F.convolution(x, F.reshape(table, (60, 40, 1, 1)))
    else:
        x, array = nn.Variable((2, 60)), np.ones((2, 60), np.float32)
        y = F.affine(x, table) if layer == "affine" else x + F.reshape(table, (1, 2400))[:, :60]
    graph = compile_graph({"x": x}, {"y": y})
    before = graph(x=array)["y"]
    table.data.zero()
    np.testing.assert_array_equal(graph(x=array)["y"], before)


def test_all_missing_operations_are_named_at_once(weights):
    x = nn.Variable((2, 6))
    y = F.sinh(F.cosh(F.sinh(x)))
    assert unsupported_ops([y]) == {"Sinh": 2, "Cosh": 1}
    with pytest.raises(UnsupportedOpError, match=r"Cosh \(1x\), Sinh \(2x\)"):
        compile_graph({"x": x}, {"y": y})


def test_random_operations_are_not_frozen():
    x = nn.Variable((2, 6))
    with pytest.raises(UnsupportedOpError, match="Randn"):
        compile_graph({"x": x}, {"y": x + F.randn(shape=(2, 6))})


@pytest.mark.parametrize(
    "graph",
    [
        lambda x: F.reshape(x, (3, 8)),
        lambda x: x[:2],
        lambda x: F.concatenate(x, x, axis=0),
        lambda x: x + nn.Variable.from_numpy_array(np.arange(24.0).reshape(4, 6)),
        lambda x: F.reshape(F.transpose(x, (1, 0)), (24,)),
    ],
    ids=["mixed", "cut", "joined", "added to", "folded away"],
)
def test_a_graph_that_fixes_its_batch_is_refused(graph):
    x = nn.Variable((4, 6))
    with pytest.raises(UnsupportedOpError, match="dynamic_batch=False"):
        compile_graph({"x": x}, {"y": graph(x)})
    array = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    fixed = compile_graph({"x": x}, {"y": (y := graph(x))}, dynamic_batch=False)
    x.d = array
    y.forward()
    np.testing.assert_allclose(fixed(x=array)["y"], y.d, rtol=1e-6)


def test_the_nominal_batch_must_tell_itself_from_axes_of_one():
    x = nn.Variable((1, 6))
    with pytest.raises(ConfigError, match="at least 2"):
        compile_graph({"x": x}, {"y": x + 1})


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({}, "expected"),
        ({"z": np.ones((2, 6), np.float32)}, "expected"),
        ({"x": np.ones((2, 7), np.float32)}, r"shape \(2, 7\); expected \(N, 6\)"),
        ({"x": np.ones(6, np.float32)}, "shape"),
        ({"x": np.ones((2, 6), np.uint8)}, "uint8"),
        ({"x": np.full((2, 6), np.nan, np.float32)}, "NaN"),
        ({"x": np.full((2, 6), -np.inf, np.float32)}, "infinity"),
    ],
)
@pytest.mark.parametrize("prepare", [compile_graph, interpret_graph])
def test_arrays_that_do_not_fit_are_refused(prepare, arrays, message):
    x = nn.Variable((2, 6))
    graph = prepare({"x": x}, {"y": x + 1})
    with pytest.raises(DataError, match=message):
        graph(**arrays)


@pytest.mark.parametrize("ids", [[[0, 9]], [[-1, 3]]])
def test_ids_outside_the_table_are_refused(weights, ids):
    x = nn.Variable((2, 2))
    graph = compile_graph({"ids": x}, {"y": F.embed(F.reshape(x, (4,)), weights()(9, 4))})
    with pytest.raises(DataError, match="rows 0 to 8"):
        graph(ids=np.array(ids))
    with pytest.raises(DataError, match="expected integers"):
        graph(ids=np.array(ids, np.float32))


@pytest.mark.parametrize("options", [{"streams": 0}, {"streams": "2"}, {"threads": -1}])
def test_no_threads_or_streams_are_refused(options):
    x = nn.Variable((2, 6))
    with pytest.raises(ConfigError, match="expected an integer of at least 1"):
        compile_graph({"x": x}, {"y": x + 1}, **options)


@pytest.mark.parametrize(
    ("flags", "held"),
    [({"avx2"}, ""), ({"avx512_bf16"}, "avx2"), ({"amx_bf16"}, "AVX512_CORE_VNNI")],
)
def test_a_cpu_without_bf16_is_told(monkeypatch, flags, held):
    monkeypatch.setattr("nnclip.engine.precision.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert default_precision() == "fp32"
    x = nn.Variable((2, 6))
    with pytest.raises(ConfigError, match="choose one of fp32, int8"):
        compile_graph({"x": x}, {"y": x + 1}, precision="bf16")


@pytest.mark.parametrize("held", ["", "DEFAULT", "AVX512_CORE_BF16", "avx512_core_amx"])
def test_a_cpu_with_bf16_takes_it(monkeypatch, held):
    monkeypatch.setattr("nnclip.engine.precision.cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert default_precision() == "bf16"


@pytest.mark.parametrize(
    ("flags", "held", "exact"),
    [
        ({"avx512_vnni"}, "", True),
        ({"avx_vnni"}, "AVX2_VNNI", True),
        ({"avx512f"}, "", False),
        ({"avx512_vnni"}, "AVX512_CORE", False),
    ],
)
def test_a_cpu_that_cuts_sums_of_int8_is_known(monkeypatch, flags, held, exact):
    monkeypatch.setattr("nnclip.engine.precision.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert sums_int8_exactly() is exact


@pytest.mark.parametrize(
    ("flags", "held", "wanted"),
    [
        ({"avx2", "avx512f"}, "avx2", "AVX512_CORE"),
        ({"avx512f", "avx512_vnni"}, "AVX2_VNNI", "AVX512_CORE_VNNI"),
        ({"avx512f"}, "AVX512_CORE", "AVX512_CORE"),
        ({"avx2"}, "AVX2", "AVX2"),
        ({"avx512f"}, "", ""),
    ],
)
def test_a_hold_that_crashes_openvino_is_lifted(monkeypatch, caplog, flags, held, wanted):
    monkeypatch.setattr("nnclip.engine.precision.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    exact = sums_int8_exactly()
    lift_hold()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == wanted
    assert ("is held to" in caplog.text) == (held.upper() != wanted)
    assert sums_int8_exactly() == exact


@pytest.mark.parametrize("precision", ["fp8", "BF16"])
def test_an_unknown_precision_is_refused(precision):
    x = nn.Variable((2, 6))
    with pytest.raises(ConfigError, match="fp32"):
        compile_graph({"x": x}, {"y": x + 1}, precision=precision)
