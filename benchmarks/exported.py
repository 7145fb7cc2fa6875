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


class Exported:
    """What could be exported; what could not is told to `skip`."""

    def __init__(self, peer: TorchPeer | None, skip: Skip) -> None:
        """Export.

        Args:
            peer: OpenAI's code, or None where torch is not installed.
            skip: told what is not there, and why.
        """
        ways = {
            "onnxruntime": (("onnxruntime", "onnx"), _onnx_session),
            "openvino of the torch model": (("openvino",), _openvino_model),
        }
        found: list[Any] = []
        for name, (modules, export) in ways.items():
            found.append(None)
            if peer is None or not installed(*modules):
                skip(f"{name}: {'no torch model' if peer is None else 'not installed'}")
                continue
            try:
                with _quietly():
                    found[-1] = export(peer)
            except (RuntimeError, OSError) as error:  # a version that cannot export: go on without
                skip(f"{name}: {str(error).splitlines()[0]}")
        self._session, self._model = found

    def contenders(self, x: np.ndarray, precisions: list[str]) -> list[Contender]:
        """ONNX Runtime, in fp32 only, and OpenVINO for this batch."""
        entered = []
        if self._session is not None:
            session = self._session
            entered.append(
                Contender(
                    *("onnxruntime", "fp32", lambda: session.run(None, {"images": x})[0], len(x))
                )
            )
        if self._model is not None:
            entered += [self._openvino(precision, x) for precision in precisions]
        return entered

    def _openvino(self, precision: str, x: np.ndarray) -> Contender:
        """Compiled for exactly this batch; arrays are shared with it both ways."""
        model = self._model.clone()
        model.reshape(list(x.shape))
        request = compile_openvino(model, precision).create_infer_request()

        def call() -> np.ndarray:
            return request.infer({0: x}, share_inputs=True, share_outputs=True)[0]

        return Contender("openvino", precision, call, len(x))


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


def _onnx_session(peer: TorchPeer) -> Any:
    import onnxruntime
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "visual.onnx"
        torch.onnx.export(
            *(peer.model.visual, (_example(peer),), str(path)),
            input_names=["images"],
            dynamic_axes={"images": {0: "N"}},
            opset_version=17,
            dynamo=False,  # the newer exporter needs onnxscript
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = CORES
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
