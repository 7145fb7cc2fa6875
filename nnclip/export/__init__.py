"""Writes a model for other runtimes: OpenVINO's IR, ONNX and NNabla's NNP, with a card."""

from nnclip.export.files import PARTS, SUFFIXES, export

__all__ = ["PARTS", "SUFFIXES", "export"]
