"""The torch model's image tower in other runtimes: ONNX Runtime, and OpenVINO by convert_model."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import CORES, Contender, installed
from peers import TorchPeer
from products import compile_openvino

Skip = Callable[[str], None]
Export = Callable[[], Any]
ONNX, OPENVINO = "onnxruntime", "openvino"


class Exported:
    """What could be exported; what could not is told to `skip`."""

    def __init__(
        self, peer: TorchPeer | None, skip: Skip, calibration: np.ndarray | None = None
    ) -> None:
        """Export.

        Args:
            peer: OpenAI's code, or None where torch is not installed.
            skip: told what is not there, and why.
            calibration: (N, 3, R, R) float32 that int8 sees beforehand; None leaves int8 out.
        """
        self._found: dict[tuple[str, str], Any] = {}
        if peer is None:
            skip(f"{ONNX}: no torch model")
            skip(f"{OPENVINO} of the torch model: no torch model")
            return
        self._skip = skip
        with tempfile.TemporaryDirectory(prefix="nnclip-exported-") as folder:
            file = Path(folder) / "visual.onnx"
            self._export(ONNX, "fp32", ("onnxruntime", "onnx"), lambda: _onnx_session(peer, file))
            if calibration is not None and file.exists():
                self._export(ONNX, "int8", ("onnxruntime",), lambda: _onnx_int8(file, calibration))
        self._export(OPENVINO, "fp32", ("openvino",), lambda: _openvino_model(peer))
        model = self._found.get((OPENVINO, "fp32"))
        if calibration is not None and model is not None:
            self._export(OPENVINO, "int8", ("nncf",), lambda: _openvino_int8(model, calibration))

    def _export(self, name: str, precision: str, modules: tuple[str, ...], way: Export) -> None:
        """Keep what `way` makes, or tell why there is none."""
        called = {OPENVINO: f"{OPENVINO} of the torch model"}.get(name, name)
        if not installed(*modules):
            self._skip(f"{called}: {precision}: not installed")
            return
        try:
            with _quietly():
                self._found[name, precision] = way()
        except (RuntimeError, OSError) as error:  # a version that cannot: go on without
            self._skip(f"{called}: {precision}: {str(error).splitlines()[0]}")

    def contenders(self, x: np.ndarray, precisions: list[str]) -> list[Contender]:
        """ONNX Runtime and OpenVINO for this batch, in what was exported; bf16 in OpenVINO only."""
        entered = [
            Contender(ONNX, p, lambda s=session: s.run(None, {"images": x})[0], len(x))
            for (name, p), session in self._found.items()
            if name == ONNX
        ]
        for (name, p), model in self._found.items():
            if name == OPENVINO:
                wanted = ["int8"] if p == "int8" else precisions
                entered += [self._openvino(model, precision, x) for precision in wanted]
        return entered

    def _openvino(self, model: Any, precision: str, x: np.ndarray) -> Contender:
        """Compiled for exactly this batch; arrays are shared with it both ways."""
        model = model.clone()
        model.reshape(list(x.shape))
        request = compile_openvino(model, precision).create_infer_request()

        def call() -> np.ndarray:
            return request.infer({0: x}, share_inputs=True, share_outputs=True)[0]

        return Contender(OPENVINO, precision, call, len(x))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Exporters print, and trace modules that must not take an unexportable short cut."""
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad(), open(os.devnull, "w") as nowhere:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def _example(peer: TorchPeer) -> Any:
    import torch

    size = peer.model.visual.input_resolution
    return torch.from_numpy(np.zeros((2, 3, size, size), np.float32))


def _openvino_model(peer: TorchPeer) -> Any:
    import openvino

    x = _example(peer)
    shape = [-1, *x.shape[1:]]
    return openvino.convert_model(peer.model.visual, example_input=x, input=shape)


def _openvino_int8(model: Any, calibration: np.ndarray) -> Any:
    """As NNCF's guide says for transformers."""
    import nncf

    images = nncf.Dataset([image[None] for image in calibration])
    return nncf.quantize(model.clone(), images, model_type=nncf.ModelType.TRANSFORMER)


def _onnx_session(peer: TorchPeer, file: Path) -> Any:
    """A session of the model, which is written to `file`."""
    import torch

    torch.onnx.export(
        *(peer.model.visual, (_example(peer),), str(file)),
        input_names=["images"],
        dynamic_axes={"images": {0: "N"}},
        opset_version=17,
        dynamo=False,  # the newer exporter needs onnxscript
    )
    return _session(file)


def _onnx_int8(file: Path, calibration: np.ndarray) -> Any:
    """As ONNX Runtime's guide says for transformers on CPUs: static, weights by channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        """The images, one at a time."""

        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"images": image[None]}

    ready, small = file.with_name("ready.onnx"), file.with_name("int8.onnx")
    quant_pre_process(file, ready, skip_symbolic_shape=True)
    quantization.quantize_static(ready, small, Images(), per_channel=True)
    return _session(small)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
