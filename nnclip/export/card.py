"""The card beside an exported model: all that a program must know to feed it, and how to read it.

Axes: N images, M texts, L tokens, R resolution, E embedding.
"""

import contextlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnclip import __version__
from nnclip.model import CLIP

Shapes = Mapping[str, tuple[int | None, ...]]

PACKAGES = {
    "openvino": ("nnabla", "openvino"),
    "onnx": ("nnabla", "openvino", "onnx"),
    "nnp": ("nnabla",),
}
INPUTS = {
    "images": "images, prepared as `pictures` tells",
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


def card_of(
    model: CLIP, to: str, part: str, half: bool, inputs: Shapes, files: Sequence[Path]
) -> dict[str, Any]:
    """What there is to know of an exported model, as JSON.

    Args:
        model: what was exported.
        to: the format.
        part: the part.
        half: whether the weights are float16.
        inputs: name -> shape, None where any length will do.
        files: what was written.
    """
    text, names, scorer = model.config.text, PART_OUTPUTS[part], model.scorer
    logits = "logit_scale * cosine" + (" + logit_bias" if scorer.bias else "")
    meanings = INPUTS | {name: one.meaning for name, one in text.beside.items()}
    integers = {"ids", *(name for name, one in text.beside.items() if one.dtype == "int32")}
    card: dict[str, Any] = {
        "model": model.path.name,
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
        "outputs": {name: OUTPUTS[name].format(logits=logits) for name in names},
        "embedding": model.config.embed,
        "logit_scale": scorer.scale,
        "logit_bias": scorer.bias,
        "probabilities": scorer.loss.meaning.format(logits=logits)
        + "; a cosine is the product of two features that were divided by their lengths",
        "made_by": _versions(PACKAGES[to]),
    }
    if part != "text":
        card["pictures"] = _pictures(model)
    if part != "image":
        card["texts"] = _texts(model)
    return card


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


def _pictures(model: CLIP) -> dict[str, Any]:
    preprocess = model.config.image.preprocess
    return {
        "tower": model.config.image.describe(),
        "colours": "red, green, blue, in this order, on the second axis",
        "steps": "; ".join(preprocess.steps()),
        **asdict(preprocess),
    }


def _texts(model: CLIP) -> dict[str, Any]:
    text = model.config.text
    return {
        "tower": text.describe(),
        "context": text.context,
        "vocabulary": text.vocabulary,
        "tokenizer": "tokenizer.json, for Hugging Face's `tokenizers`",
        "cleaning": text.cleaning,
        "padding": text.pad,
    }


def page_of(card: Mapping[str, Any]) -> str:
    """The card as a page of Markdown."""
    outputs = list(card["outputs"])
    arguments = ", ".join(f'"{name}": {name}' for name in card["inputs"])
    code = RUNNING[card["format"]].format(
        file=next(iter(card["files"])), arguments="{" + arguments + "}", output=outputs[-1]
    )
    lines = [f"# {card['model']}, {card['part']}, as {card['format']}", ""]
    lines += [f"Weights in {card['weights']}; `card.json` holds all of this for programs.", ""]
    lines += ["| input | shape | type | |", "|---|---|---|---|"]
    for name, one in card["inputs"].items():
        shape = ", ".join(map(str, one["shape"]))
        lines.append(f"| `{name}` | ({shape}) | {one['dtype']} | {one['meaning']} |")
    lines += ["", "| output | |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in card["outputs"].items()]
    lines += [
        "",
        f"**Probabilities**: {card['probabilities']}. `logit_scale` is {card['logit_scale']:.6g}, "
        f"`logit_bias` {card['logit_bias']:.6g}.",
        "",
    ]
    for title in ("pictures", "texts"):
        if title in card:
            lines += [f"## {title.capitalize()}", ""]
            lines += [f"- {key}: {value}" for key, value in card[title].items()]
            lines.append("")
    versions = ", ".join(f"{name} {version}" for name, version in card["made_by"].items())
    lines += ["## Run it", "", "```python", code, "```", "", f"Made with {versions}."]
    return "\n".join(lines) + "\n"
