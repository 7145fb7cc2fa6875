"""Writes down how towers of model files are traced, and their features: with NNabla, or without.

python traces.py OUT MODEL.h5 ...     # set NNCLIP_TEST_WITHOUT_NNABLA=1 to hide NNabla
"""

import json
import os
import sys
from pathlib import Path

if os.environ.get("NNCLIP_TEST_WITHOUT_NNABLA"):
    sys.modules["nnabla"] = None

import numpy as np

from nnclip import clip
from nnclip.engine.trace import ordered_functions
from nnclip.graph.beside import empty_inputs
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building, flatten
from nnclip.nnabla import INSTALLED, nn


def traced(inputs, output, names):
    """Each function before `output`: type, arguments, where inputs come from, shapes."""
    functions = ordered_functions([output], inputs.values())
    origin = {**names, **{v: f"input {k}" for k, v in inputs.items()}}
    rows = []
    for number, f in enumerate(functions):
        # a constant has neither name nor parent: its values tell it
        sources = [origin.get(v) or np.asarray(v.d).tolist() for v in f.inputs]
        origin.update({v: f"{number}.{i}" for i, v in enumerate(f.outputs)})
        shapes = [list(v.shape) for v in f.outputs]
        rows.append([f.info.type_name, dict(f.info.args), sources, shapes])
    return rows


def towers(model, lengths):
    """Name of a tower -> its trace."""
    config, scope = model.config, model._weights.scope
    names = {v: k for k, v in flatten(scope).items()}
    found = {}
    with building(scope):
        size = config.image.resolution
        images = {"images": nn.Variable((2, 3, size, size))}
        found["image"] = traced(images, image_features(images["images"], config), names)
        for length in lengths:
            texts = empty_inputs(config.text, 2, length)
            found[f"text {length}"] = traced(texts, text_features(texts, config), names)
    return found


def main(out, *paths):
    """Write OUT.json with the traces and OUT.npz with the features."""
    traces, features = {}, {"installed": np.array(INSTALLED)}
    for path in paths:
        model = clip.load(path, precision="fp32")
        text, size = model.config.text, model.config.image.resolution
        lengths = range(1, text.context + 1) if text.trims else [text.context]
        traces[path] = towers(model, lengths)
        images = np.random.default_rng(1).normal(size=(3, 3, size, size)).astype("f4")
        texts = ["a cat", "one two three four", ""]
        features[f"{path} image"] = model.encode_image(images)
        features[f"{path} text"] = model.encode_text(model.tokenize(texts, truncate=True))
    Path(f"{out}.json").write_text(json.dumps(traces))
    np.savez(f"{out}.npz", **features)


if __name__ == "__main__":
    main(*sys.argv[1:])
