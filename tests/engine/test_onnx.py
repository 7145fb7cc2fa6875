"""Every operation of the table as ONNX, run by ONNX Runtime at another batch size."""

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import emit_graph, onnx_ops, save_onnx
from nnclip.errors import UnsupportedOpError
from tests.engine.cases import CASES, build, values_for
from tests.lazy import lazy

onnx = lazy("onnx")
onnxruntime = lazy("onnxruntime")


def run(path, values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dtype = np.int32 if session.get_inputs()[0].type == "tensor(int32)" else np.float32
    return session.run(["y"], {"x": values.astype(dtype)})[0]


@pytest.mark.parametrize("case", CASES)
def test_operation_equals_nnabla_at_another_batch_size(case, weights, run_nnabla, tmp_path):
    x, y = build(case, 2, weights())
    graph = emit_graph({"x": x}, {"y": y})
    (path,) = save_onnx(graph, tmp_path / "y.onnx")
    onnx.checker.check_model(path, full_check=True)
    for batch in (2, 3):
        x, y = build(case, batch, weights())
        values = values_for(x)
        got, wanted = run(path, values), run_nnabla({x: values}, y)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=5e-5, atol=5e-6)


def test_all_missing_operations_are_named_at_once(tmp_path, monkeypatch):
    x = nn.Variable((2, 6))
    graph = emit_graph({"x": x}, {"y": F.tanh(F.sin(F.tanh(x)))})
    for name in ("Tanh", "Sin"):
        monkeypatch.delitem(onnx_ops.RULES, name)
    with pytest.raises(UnsupportedOpError, match=r"Sin \(1x\), Tanh \(2x\)"):
        save_onnx(graph, tmp_path / "y.onnx")


def test_large_weights_get_a_file_of_their_own(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("nnclip.engine.export.ONNX_FILE_LIMIT", 1000)
    x, w = nn.Variable((2, 40)), weights()(40, 30)
    for _ in range(2):  # the second time it replaces what is there
        files = save_onnx(emit_graph({"x": x}, {"y": F.affine(x, w)}), tmp_path / "y.onnx")
    assert [path.name for path in files] == ["y.onnx", "y.onnx.data"]
    assert files[0].stat().st_size < 1000 and files[1].stat().st_size == 4 * 40 * 30
    values = values_for(nn.Variable((3, 40, 1)))[..., 0]
    np.testing.assert_allclose(run(files[0], values), values @ w.d, rtol=1e-4, atol=1e-5)
