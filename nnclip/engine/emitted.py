"""A graph that was written for OpenVINO, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnclip.engine.arrays import InputSpec

if TYPE_CHECKING:
    import openvino as ov


@dataclass(frozen=True)
class EmittedGraph:
    """A graph written for OpenVINO and not yet compiled; NNabla has done its part.

    Attributes:
        model: The OpenVINO model.
        specs: What each input takes.
        outputs: Names of the outputs.
    """

    model: ov.Model
    specs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
