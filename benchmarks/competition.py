"""Everyone who turns images and captions into features: one model, built by all of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import models
import nnabla as nn
import numpy as np
import plain_nnabla
from exported import Exported
from measuring import NO_BF16, Contender, Report, fastest, installed
from peers import torch_peers, ways_in_torch
from products import product_contenders

from nnclip.engine import NNABLA_LOCK, available_precisions
from nnclip.graph.beside import text_inputs
from nnclip.graph.config import ClipResNetConfig
from nnclip.towers import Towers

PLAIN_CELL = 8  # the batch beside which plain NNabla is measured
PLAIN_BATCH = {"ViT-B/32": 8, "small": 8}  # of other models 1: it takes seconds an image
CALIBRATION = 24  # images that int8 sees beforehand


@contextlib.contextmanager
def torch_session() -> Iterator[None]:
    """Inference mode, and autocast held open so that weights are cast once in the whole run."""
    if not installed("torch"):
        yield
        return
    import torch

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        yield


class Competition:
    """All implementations of one model."""

    def __init__(
        self, name: str, report: Report, quick: bool = False, compiled: bool = False
    ) -> None:
        """Build them; what is not there is named in the report.

        Args:
            name: of the model.
            report: told what is left out.
            quick: without int8.
            compiled: torch's peers through torch.compile, too, where there is a C++ compiler.
        """
        self.name, self.report = name, report
        self._compiled = compiled and shutil.which(os.environ.get("CXX", "g++")) is not None
        if not self._compiled:
            why = "found no C++ compiler" if compiled else "not asked for (--compile)"
            report.skip(f"torch.compile: {why}")
        self.weights = models.random_weights(name)
        self.config = self.weights.config
        self.precisions = [p for p in ("fp32", "bf16") if p in available_precisions()]
        if "bf16" not in self.precisions:
            report.skip(NO_BF16)
        self.towers = {p: Towers(self.weights, p, "cpu", None) for p in self.precisions}
        self.peers = torch_peers(self.weights, report.skip)
        bf16 = "bf16" in self.precisions
        self.lowered = {peer.name: peer.in_bf16() for peer in self.peers if bf16}
        if self.alone:
            return
        calibration = None
        if quick:
            report.skip("int8: its calibration takes too long for --quick")
        else:
            calibration = models.pictures(self.config, CALIBRATION, seed=1)
            self._add_int8(calibration)
        openai = next((peer for peer in self.peers if peer.name == "openai"), None)
        self.exported = Exported(openai, report.skip, calibration)

    @property
    def alone(self) -> bool:
        """Whether a text encoder is measured alone."""
        return self.name in models.ENCODERS

    @property
    def resnet(self) -> bool:
        """Whether images go through convolutions, which plain NNabla is not written with here."""
        return isinstance(self.config.image, ClipResNetConfig)

    def image_cell(self, batch: int, with_peak: bool) -> list[Contender]:
        """Everyone who takes part with this batch of images; call inside `torch_session`."""
        x = models.pictures(self.config, batch)
        entered = [
            Contender("nnclip", p, lambda t=tower: t.image(x), batch)
            for p, tower in self.towers.items()
        ]
        entered += self._torch("encode_image", x)
        entered += self.exported.contenders(x, self.precisions)
        if batch == PLAIN_CELL and not self.resnet:
            entered.append(self._plain(x[: PLAIN_BATCH.get(self.name, 1)]))
        if with_peak and not self.resnet:  # whose products are of all shapes
            blocks, tokens = self.config.image.blocks, self.config.image.tokens
            for precision in self.precisions:
                entered += product_contenders(
                    precision, batch * tokens, blocks.width, blocks.hidden
                )
        return entered

    def text_cell(self, batch: int, tokens: int) -> list[Contender]:
        """Everyone who takes part with this batch of captions; call inside `torch_session`."""
        ids = models.captions(self.config, batch, tokens)
        entered = [
            Contender("nnclip", p, lambda t=tower: t.text(ids), batch)
            for p, tower in self.towers.items()
        ]
        # transformers fills up to the longest text of a batch, the others to the whole context
        theirs = ids[:, :tokens] if self.alone else ids
        return entered + self._torch("encode_text", theirs.astype(np.int64))

    def _torch(self, encode: str, array: np.ndarray) -> list[Contender]:
        return [
            fastest(
                ways_in_torch(
                    peer, self.lowered.get(peer.name), encode, array, precision, self._compiled
                )
            )
            for peer in self.peers
            for precision in self.precisions
        ]

    def _plain(self, x: np.ndarray) -> Contender:
        images = nn.Variable(x.shape)
        images.d = x
        with nn.auto_forward(False):
            out = plain_nnabla.image_features(images, self.weights.variables(), self.config)

        def call() -> np.ndarray:
            with NNABLA_LOCK:
                out.forward(clear_buffer=True)
            return np.array(out.d)

        return Contender("plain nnabla", "fp32", call, len(x), f"batch {len(x)}")

    def _add_int8(self, images: np.ndarray) -> None:
        """Both towers in int8, calibrated on images and captions that are not asked later."""
        if not installed("nncf"):
            self.report.skip("nnclip int8: nncf not installed")
            return
        ids = models.captions(self.config, CALIBRATION, self.config.text.context, seed=1)
        seen = {
            "image": {"images": images},
            "text": text_inputs(ids, self.config.text),
        }
        kept = tempfile.TemporaryDirectory(prefix="nnclip-int8-")
        self._kept = kept  # lives as long as its graphs
        self.towers["int8"] = Towers(
            self.weights, "int8", "cpu", None, seen.__getitem__, Path(kept.name)
        )
