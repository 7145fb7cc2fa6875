"""`nnclip bench`: how fast the model at hand is in each precision, and how exact.

Axes: N images or texts, E embedding.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip import clip
from nnclip.drawing import draw_pair
from nnclip.engine import agreement, available_precisions, quantize
from nnclip.engine.precision import PRECISIONS, check_precision
from nnclip.errors import ConfigError, DataError
from nnclip.forks import NNABLA_LOCK
from nnclip.graph.beside import empty_inputs, text_inputs
from nnclip.graph.features import text_features
from nnclip.graph.parameters import building, scope_of
from nnclip.nnabla import nn

HELP = "measure the model in each precision: images and texts a second, agreement with NNabla"
SECONDS = 1.0  # of calls for each speed, in rounds of at least one call
LEAST_PICTURES = 2  # one half calibrates int8, the other half is measured

Encode = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """What is encoded.

    Attributes:
        images: (N, 3, R, R) float32, preprocessed.
        ids: (N, L) int32.
    """

    images: np.ndarray
    ids: np.ndarray

    def halves(self) -> tuple["Inputs", "Inputs"]:
        """The first half, and the second."""
        at = len(self.images) // 2
        return (
            Inputs(self.images[:at], self.ids[:at]),
            Inputs(self.images[at:], self.ids[at:]),
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="image files; without any, images are drawn"
    )
    parser.add_argument("-m", "--model", help='an .h5 file or a published name such as "ViT-B/32"')
    parser.add_argument("--precision", choices=PRECISIONS, help="measure this one only")
    parser.add_argument(
        "--agreement", action="store_true", help="compare features with NNabla's own, in fp32"
    )
    parser.add_argument(
        "--count", type=int, default=32, metavar="N", help="images to draw (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Print a table with a row for each precision."""
    if args.precision:
        check_precision(args.precision)
    model = clip.load(args.model, precision="fp32")
    seen, measured = _inputs(model, args.images, args.count).halves()
    wanted = _by_nnabla(model, measured) if args.agreement else None
    rows = []
    for precision in [args.precision] if args.precision else available_precisions():
        encoders = _encoders(model, args.model, precision, seen)
        rows.append(_row(precision, encoders, measured, wanted))
    if args.json:
        print(json.dumps({"model": str(model.path), "count": len(measured.ids), "rows": rows}))
    else:
        print(_table(model, len(measured.ids), rows))
    return 0


def _inputs(model: clip.CLIP, files: list[str], count: int) -> Inputs:
    """The given images, or drawn ones, with as many drawn captions."""
    count = len(files) or count
    if count < LEAST_PICTURES:
        raise ConfigError(
            f"found {count} image, expected at least {LEAST_PICTURES}: half of them calibrate "
            "int8, the others are measured"
        )
    pairs = [draw_pair(0, i, size=64 if files else 224, languages=("en",)) for i in range(count)]
    if files:
        images = np.concatenate([model.preprocess_image(file) for file in files])
    else:
        images = np.stack([model.preprocess(image) for image, _, _ in pairs])
    return Inputs(images, model.tokenize([caption for _, caption, _ in pairs], truncate=True))


def _by_nnabla(model: clip.CLIP, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Features of images and texts, (N, E) each, computed by NNabla itself."""
    features = []
    for encode, array in ((model.encode_image, inputs.images), (model.encode_text, inputs.ids)):
        rows = []
        for one in array:  # one at a time, so that memory does not grow with the count
            variable = nn.Variable.from_numpy_array(one[None])
            with NNABLA_LOCK:
                output = encode(variable)
                output.forward(clear_buffer=True)
                rows.append(np.array(output.d[0]))
        features.append(np.stack(rows))
    return features[0], features[1]


def _encoders(
    model: clip.CLIP, source: str | None, precision: str, seen: Inputs
) -> tuple[Encode, Encode]:
    """Images -> features and ids -> features in this precision; int8 calibrates on `seen`."""
    if precision != "int8":
        loaded = model if precision == "fp32" else clip.load(source, precision=precision)
        return loaded.encode_image, loaded.encode_text
    config, length = model.config, seen.ids.shape[1]
    images = nn.Variable((2, *seen.images.shape[1:]))
    texts = empty_inputs(config.text, 2, length)
    with building(scope_of(model.parameters())):
        text = text_features(texts, config)
    image_graph = quantize(
        {"images": images}, {"features": model.encode_image(images)}, {"images": seen.images}
    )
    text_graph = quantize(texts, {"features": text}, text_inputs(seen.ids, config.text))
    return (
        lambda x: image_graph(images=x)["features"],
        lambda x: text_graph(**text_inputs(x, config.text))["features"],
    )


def _row(
    precision: str,
    encoders: tuple[Encode, Encode],
    inputs: Inputs,
    wanted: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"precision": precision}
    arrays = {"image": inputs.images, "text": inputs.ids}
    for i, (tower, array) in enumerate(arrays.items()):
        features = encoders[i](array)
        if not np.isfinite(features).all():
            raise DataError(f"{precision}: found NaN in the {tower} features, expected numbers")
        row[f"{tower}s_per_second"] = round(len(array) / _seconds(encoders[i], array), 1)
        if wanted is not None:
            close = agreement(features, wanted[i])
            row[f"{tower}_least_cosine"] = close.least_cosine
            row[f"{tower}_largest_error"] = close.largest_error
    return row


def _seconds(encode: Encode, array: np.ndarray) -> float:
    """The median time of a call that is not the first."""
    times: list[float] = []
    while sum(times) < SECONDS:
        start = time.perf_counter()
        encode(array)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _table(model: clip.CLIP, count: int, rows: list[dict[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "precision"]
    head = f"{'':9}" + "".join(f"{name.replace('_', ' '):>22}" for name in names)
    lines = [f"{model.path}: {count} images and captions at a time", head]
    for row in rows:
        cells = (f"{row[name]:22{_format(name)}}" for name in names)
        lines.append(f"{row['precision']:9}" + "".join(cells))
    if any("cosine" in name for name in names):
        lines.append("agreement: of features with those that NNabla itself computes in fp32")
    return "\n".join(lines)


def _format(name: str) -> str:
    if name.endswith("per_second"):
        return ".1f"
    return ".6f" if name.endswith("cosine") else ".1e"
