"""A model as files that other programs run: OpenVINO's IR, ONNX, NNabla's NNP, and a card.

Axes: N images, M texts, L tokens, R resolution, E embedding.
"""

import json
from pathlib import Path

from nnclip.engine import (
    EmittedGraph,
    emit_graph,
    free_length,
    save_ir,
    save_nnp,
    save_onnx,
    with_int64,
)
from nnclip.errors import ConfigError, NnclipError
from nnclip.export.card import earlier_graphs, graph_card, model_card, page_of, with_graph
from nnclip.exported import CARD, TOKENIZER
from nnclip.graph.beside import empty_inputs
from nnclip.graph.features import image_features, text_features
from nnclip.graph.losses import LOSSES, scalar_parameters
from nnclip.graph.parameters import building, scope_of
from nnclip.graph.similarity import normalise, similarity
from nnclip.model import CLIP
from nnclip.nnabla import nn
from nnclip.weights.h5 import write_text

SUFFIXES = {"openvino": ".xml", "onnx": ".onnx", "nnp": ".nnp"}  # format -> of its file
PARTS = {"image": "image", "text": "text", "both": "clip"}  # part -> name of its file
HALF = "-fp16"  # ends the name of a file whose weights are float16
NOMINAL = 2  # the batch that a graph is written for where it may be any

Variables = dict[str, nn.Variable]


def export(
    model: CLIP,
    folder: Path,
    to: str,
    *,
    part: str = "both",
    half: bool = False,
    batch: int = 1,
) -> list[Path]:
    """Write a model, or one tower of it, for another runtime, and a card of its inputs.

    Args:
        model: with the values its parameters have now.
        folder: made if it is not there. It may hold other parts, formats and precisions of the same
            model, which stay; a file of the same name is replaced.
        to: a key of SUFFIXES. OpenVINO's IR and ONNX take images (N, 3, R, R) float32 and ids
            (M, L) int64 with any N, M and L up to the context (L is the context where the text
            tower sees padding); NNP has one batch size and the whole context, and also takes what
            the tower reads beside ids.
        part: a key of PARTS; "both" is one graph that also gives `logits_per_image` (N, M).
        half: store the weights as float16; OpenVINO only.
        batch: N and M of an NNP.

    Returns: the files.

    Raises:
        ConfigError: a setting that cannot be, a package that is not installed, or a folder that
            holds another model.
        UnsupportedOpError: the format lacks operations of this model; all are named.
    """
    if half and to != "openvino":
        raise ConfigError(f"float16 weights: found format {to}, expected openvino")
    if batch < 1:
        raise ConfigError(f"batch: found {batch}, expected at least 1")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _written(model, folder, to, part, half, batch)
    except (OSError, RuntimeError) as error:  # OpenVINO raises the latter on a full disk
        if isinstance(error, NnclipError):
            raise
        raise ConfigError(f"{folder}: cannot be written ({error}); name another folder") from error


def _written(model: CLIP, folder: Path, to: str, part: str, half: bool, batch: int) -> list[Path]:
    """Write the files of `export`, the card last."""
    card = model_card(model)
    graphs = earlier_graphs(card, folder)
    path = folder / (PARTS[part] + HALF * half + SUFFIXES[to])
    if to == "nnp":
        inputs, outputs = _graph(model, part, batch, model.config.text.context)
        files = save_nnp(inputs, outputs, model.parameters(), path)
        shapes = {name: tuple(v.shape) for name, v in inputs.items()}
    else:
        graph = _emitted(model, part)
        files = save_ir(graph, path, half=half) if to == "openvino" else save_onnx(graph, path)
        shapes = {spec.name: spec.shape for spec in graph.specs}
    card = with_graph(card, graphs, graph_card(model, to, part, half, shapes, files))
    contents = {
        TOKENIZER: model.tokenizer.to_json(),
        "README.md": page_of(card),
        CARD: json.dumps(card, indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [*files, *(folder / name for name in contents)]


def _graph(model: CLIP, part: str, batch: int, length: int) -> tuple[Variables, Variables]:
    """Inputs and outputs of a part as NNabla Variables."""
    config, size = model.config, model.config.image.resolution
    inputs: Variables = {}
    outputs: Variables = {}
    with building(scope_of(model.parameters())):
        if part != "text":
            inputs["images"] = nn.Variable((batch, 3, size, size))
            outputs["image_features"] = image_features(inputs["images"], config)
        if part != "image":
            texts = empty_inputs(config.text, batch, length)
            inputs |= texts
            outputs["text_features"] = text_features(texts, config)
        if part == "both":
            a, b = (normalise(features) for features in outputs.values())
            scalars = scalar_parameters(LOSSES[config.loss])
            outputs["logits_per_image"] = similarity(a, b, scalars)
    return inputs, outputs


def _emitted(model: CLIP, part: str) -> EmittedGraph:
    """A part with free batches; of texts, ids are the only input, of any length if they trim."""
    context = model.config.text.context
    longest = _for_length(model, part, context)
    if part != "image" and context > 1 and model.config.text.trims:
        longest = free_length(longest, _for_length(model, part, context - 1))
    return with_int64(longest)


def _for_length(model: CLIP, part: str, length: int) -> EmittedGraph:
    graph = emit_graph(*_graph(model, part, NOMINAL, length))
    if part == "image":
        return graph
    from nnclip.engine.derived import derive
    from nnclip.export.makers import makers_of

    return derive(graph, "ids", makers_of(model.config.text.beside))
