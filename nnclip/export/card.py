"""The card beside an exported model: all that a program must know to feed it, and how to read it.

Axes: N images, M texts, L tokens, R resolution, E embedding.
"""

import contextlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnclip import __version__
from nnclip.errors import ConfigError, DataError
from nnclip.exported import CARD, TOKENIZER, VERSION
from nnclip.graph.config import metadata_of
from nnclip.json_text import read_json
from nnclip.model import CLIP

Shapes = Mapping[str, tuple[int | None, ...]]

PACKAGES = {
    "openvino": ("nnabla", "openvino"),
    "onnx": ("nnabla", "openvino", "onnx"),
    "nnp": ("nnabla",),
}
KINDS = ("format", "part", "weights")  # what tells the graphs of a folder apart
INPUTS = {
    "images": "images, prepared as `images` tells",
    "ids": "tokens, made and filled up as `texts` tells",
}
OUTPUTS = {
    "image_features": "(N, E): a row for each image, not normalised",
    "text_features": "(M, E): a row for each text, not normalised",
    "logits_per_image": "(N, M): {logits} of each image and text",
}
PART_OUTPUTS = {
    "image": ("image_features",),
    "text": ("text_features",),
    "both": tuple(OUTPUTS),
}
RUNNING = {
    "openvino": """import openvino as ov

# OpenVINO computes in bfloat16 where the processor has it, unless it is told not to
model = ov.Core().compile_model("{file}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
found = model({arguments})["{output}"]""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
(found,) = session.run(["{output}"], {arguments})""",
    "nnp": """from nnabla.utils.nnp_graph import NnpLoader

network = NnpLoader("{file}").get_network("nnclip")
for name, array in {arguments}.items():
    network.inputs[name].d = array
network.outputs["{output}"].forward(clear_buffer=True)
found = network.outputs["{output}"].d""",
}


def model_card(model: CLIP) -> dict[str, Any]:
    """What there is to know of a model whatever is exported of it, as JSON.

    `nnclip.exported` makes a model of `metadata`, `tensors` and `scalars`; the rest is for others.
    """
    scorer, kept = model.scorer, {k: v for k, v in model.metadata.items() if k != "tokenizer"}
    carried = {"tokenizer": TOKENIZER} if model.metadata.get("tokenizer") else {}
    return {
        "card": VERSION,
        "model": model.path.name,
        "digest": model.digest(),
        "version": __version__,
        "licence": model.metadata.get("licence"),
        "languages": model.metadata.get("languages"),
        "embedding": model.config.embed,
        "loss": model.config.loss,
        "logit_scale": scorer.scale,
        "logit_bias": scorer.bias,
        "probabilities": scorer.loss.meaning.format(logits=_logits(model))
        + "; a cosine is the product of two features that were divided by their lengths",
        "images": _images(model),
        "texts": _texts(model),
        "scalars": dict(scorer.scalars),
        "metadata": {**kept, **metadata_of(model.config), **carried},
        "tensors": {name: list(v.shape) for name, v in model.parameters().items()},
        "graphs": [],
    }


def graph_card(
    model: CLIP, to: str, part: str, half: bool, inputs: Shapes, files: Sequence[Path]
) -> dict[str, Any]:
    """What there is to know of one exported graph, as JSON.

    Args:
        model: what was exported.
        to: the format.
        part: the part.
        half: whether the weights are float16.
        inputs: name -> shape, None where any length will do.
        files: what was written.
    """
    text, names = model.config.text, PART_OUTPUTS[part]
    meanings = INPUTS | {name: one.meaning for name, one in text.beside.items()}
    integers = {"ids", *(name for name, one in text.beside.items() if one.dtype == "int32")}
    return {
        "format": to,
        "part": part,
        "weights": "float16" if half else "float32",
        "files": {path.name: path.stat().st_size for path in files},
        "inputs": {
            name: {
                "shape": _shape(name, shape),
                "dtype": _integer_dtype(to) if name in integers else "float32",
                "meaning": meanings[name],
            }
            for name, shape in inputs.items()
        },
        "outputs": {name: OUTPUTS[name].format(logits=_logits(model)) for name in names},
        "made_by": _versions(PACKAGES[to]),
    }


def earlier_graphs(card: Mapping[str, Any], folder: Path) -> list[Any]:
    """The graphs that a folder's card lists, if it is of the same model.

    Raises:
        ConfigError: it is another model's, or no card of this version.
    """
    path = folder / CARD
    try:
        found = read_json(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, DataError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name another folder") from error
    same = ("card", "digest", "tensors", "metadata")
    wanted = json.loads(json.dumps({key: card[key] for key in same}))
    told = {key: found.get(key) for key in same} if isinstance(found, dict) else {}
    graphs = found.get("graphs") if told else None
    if told != wanted or not isinstance(graphs, list):
        raise ConfigError(
            f"{path}: found the card of another model, expected one of {card['model']}; name "
            "another folder, or remove this one"
        )
    return graphs


def with_graph(
    card: Mapping[str, Any], graphs: Sequence[Any], new: Mapping[str, Any]
) -> dict[str, Any]:
    """The card of a folder that holds these graphs, and a new one in place of its like."""
    like = [new[key] for key in KINDS]
    others = [g for g in graphs if isinstance(g, dict) and [g.get(k) for k in KINDS] != like]
    return {**card, "graphs": [*others, dict(new)]}


def _logits(model: CLIP) -> str:
    return "logit_scale * cosine" + (" + logit_bias" if model.scorer.bias else "")


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """nnclip's version, and those of packages; without those that are not installed."""
    found = {"nnclip": __version__}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _shape(name: str, shape: tuple[int | None, ...]) -> list[int | str]:
    """Free axes by their letters: N or M the batch, L the length."""
    letters = "N" if name == "images" else "ML"
    return [letters[i] if n is None else n for i, n in enumerate(shape)]


def _integer_dtype(to: str) -> str:
    return "int64" if to != "nnp" else "float32 that holds integers (NNabla's own convention)"


def _images(model: CLIP) -> dict[str, Any]:
    tower, preprocess = model.config.image, model.config.image.preprocess
    return {
        "tower": tower.describe(),
        "colours": "red, green, blue, in this order, on the second axis",
        "steps": "; ".join(preprocess.steps()),
        **asdict(preprocess),
        "options": _options(tower),
    }


def _texts(model: CLIP) -> dict[str, Any]:
    text = model.config.text
    return {
        "tower": text.describe(),
        "context": text.context,
        "vocabulary": text.vocabulary,
        "tokenizer": f"{TOKENIZER}, for Hugging Face's `tokenizers`",
        "cleaning": text.cleaning,
        "padding": text.pad,
        "options": _options(text),
    }


def _options(tower: Any) -> dict[str, Any]:
    """The values that tell a tower from others of its kind, `pool` and `clean` among them."""
    return {k: v for k, v in asdict(tower).items() if k != "preprocess"}


def page_of(card: Mapping[str, Any]) -> str:
    """The card as a page of Markdown."""
    lines = [f"# {card['model']}", ""]
    lines += [f"`{CARD}` holds all of this for programs. `nnclip.load` loads this folder.", ""]
    for key in ("digest", "licence", "languages"):
        lines += [f"- {key}: {card[key]}"] * bool(card[key])
    lines += [
        "",
        f"**Probabilities**: {card['probabilities']}. `logit_scale` is {card['logit_scale']:.6g}, "
        f"`logit_bias` {card['logit_bias']:.6g}.",
        "",
    ]
    for graph in card["graphs"]:
        lines += _page_of_graph(graph)
    parts = {graph["part"] for graph in card["graphs"]}
    for title, part in (("images", "image"), ("texts", "text")):
        if parts & {part, "both"}:
            lines += [f"## {title.capitalize()}", ""]
            told = {k: v for k, v in card[title].items() if k != "options"}
            lines += [f"- {key}: {value}" for key, value in told.items()]
            lines.append("")
    return "\n".join(lines)


def _page_of_graph(graph: Mapping[str, Any]) -> list[str]:
    output = list(graph["outputs"])[-1]
    arguments = ", ".join(f'"{name}": {name}' for name in graph["inputs"])
    code = RUNNING[graph["format"]].format(
        file=next(iter(graph["files"])), arguments="{" + arguments + "}", output=output
    )
    versions = ", ".join(f"{name} {version}" for name, version in graph["made_by"].items())
    lines = [f"## {graph['part']}, as {graph['format']}, weights in {graph['weights']}", ""]
    lines += ["| input | shape | type | |", "|---|---|---|---|"]
    for name, one in graph["inputs"].items():
        shape = ", ".join(map(str, one["shape"]))
        lines.append(f"| `{name}` | ({shape}) | {one['dtype']} | {one['meaning']} |")
    lines += ["", "| output | |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in graph["outputs"].items()]
    return [*lines, "", "```python", code, "```", "", f"Made with {versions}.", ""]
