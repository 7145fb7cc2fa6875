"""Everyone who turns images and captions into features: one model, built by all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import models
import nnabla as nn
import numpy as np
import plain_nnabla
from exported import Exported
from measuring import NO_BF16, Contender, Report, fastest, installed
from peers import torch_peers, ways_in_torch
from products import product_contenders

from nnclip.engine import NNABLA_LOCK, CompiledGraph, available_precisions, quantize
from nnclip.graph.config import ClipResNetConfig
from nnclip.graph.features import image_features
from nnclip.graph.parameters import building
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

    def __init__(self, name: str, report: Report, quick: bool = False) -> None:
        """Build them, if `quick` without int8; what is not there is named in the report."""
        self.name, self.report = name, report
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
        self.int8 = None if quick else self._int8()
        if quick:
            report.skip("nnclip int8: its calibration takes too long for --quick")
        openai = next((peer for peer in self.peers if peer.name == "openai"), None)
        self.exported = Exported(openai, report.skip)

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
        if self.int8 is not None:
            graph = self.int8
            call = lambda: graph(images=x)["features"]  # noqa: E731
            entered.append(Contender("nnclip", "int8", call, batch))
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
            fastest(ways_in_torch(peer, self.lowered.get(peer.name), encode, array, precision))
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

    def _int8(self) -> CompiledGraph | None:
        if not installed("nncf"):
            self.report.skip("nnclip int8: nncf not installed")
            return None
        size = self.config.image.resolution
        images = nn.Variable((2, 3, size, size))
        with building(self.weights.scope):
            features = image_features(images, self.config)
        seen = models.pictures(self.config, CALIBRATION, seed=1)
        return quantize({"images": images}, {"features": features}, {"images": seen})
