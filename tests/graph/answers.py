"""What a model makes of a batch of pairs: by NNabla, compiled, and how far two answers differ.

Axes: N batch, R resolution, L tokens, D width, E embedding.
"""

import dataclasses
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnclip.engine import compile_graph, compile_step
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.derived import FirstHighest
from nnclip.graph.losses import SOFTMAX, scalar_parameters
from nnclip.graph.parameters import Scope, building, flatten, make_parameters
from nnclip.graph.similarity import normalise, similarity
from nnclip.graph.text import text_tower
from nnclip.graph.vit import image_tower
from nnclip.image import Preprocess

Arrays = dict[str, np.ndarray]
Variables = dict[str, nn.Variable]

VALUES_TOLERANCE = 2e-5  # of a feature's, a token's or a row's norm
GRADIENT_TOLERANCE = 1e-4  # of the norm of a parameter's gradient

# Every size differs from every other, so that two axes cannot be taken for one another.
SMALL = ClipConfig(
    embed=20,
    image=VitConfig(
        preprocess=Preprocess(24),
        patch=8,
        blocks=BlockConfig(width=128, layers=3, heads=2, hidden=512),
    ),
    text=TextConfig(
        vocabulary=90, context=11, blocks=BlockConfig(width=64, layers=2, heads=1, hidden=256)
    ),
)
# What LAION's larger models change: heads that are not 64 wide, GELU, perceptrons that are not four
# times as wide; and an epsilon that matters, and pixels left over beside the last patch.
UNUSUAL = ClipConfig(
    embed=20,
    image=VitConfig(
        preprocess=Preprocess(26), patch=8, blocks=BlockConfig(96, 3, 6, 400, "gelu", 1e-3)
    ),
    text=TextConfig(vocabulary=90, context=11, blocks=BlockConfig(60, 2, 5, 150, "gelu", 1e-3)),
)


@dataclass(frozen=True)
class Answer:
    """What a model makes of a batch.

    Attributes:
        values: `image/i` and `text/i`, the output of each block (N, L, D), of the last one only
            the token that is read (N, 1, D); `image/features` and `text/features` (N, E); and
            where asked for, `logits` (N, N) and `loss` ().
        gradients: of the loss, by the parameters' published names; empty if not asked for.
    """

    values: Arrays
    gradients: Arrays


def quick(config: ClipConfig) -> ClipConfig:
    """The same model with QuickGELU."""

    def changed(blocks: BlockConfig) -> BlockConfig:
        return dataclasses.replace(blocks, activation="quick_gelu")

    image = dataclasses.replace(config.image, blocks=changed(config.image.blocks))
    text = dataclasses.replace(config.text, blocks=changed(config.text.blocks))
    return ClipConfig(config.embed, image, text)


def lively_parameters(config: ClipConfig, seed: int) -> Scope:
    """`make_parameters`, then gains, biases and scale moved away from 1, 0 and their beginning.

    As they are made, a bias that is never added or a gain that is never used would go unseen.
    """
    scope = make_parameters(config, seed)
    rng = np.random.RandomState(seed + 1)  # its stream is the same in every version of NumPy
    for variable in flatten(scope).values():
        if variable.ndim < 2:
            variable.d += 0.2 * rng.standard_normal(variable.shape)
    return scope


def pairs(config: ClipConfig, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, R, R) float32 and ids (N, context) int64; no two texts end at one place.

    Each image is noise over a colour of its own: of noise alone a random model says nearly the
    same, and what gradients are left cancel down to rounding errors. The first text fills the
    context; the last one holds the end's id twice, of which the first counts.
    """
    rng = np.random.RandomState(seed)
    size, context, end = config.image.resolution, config.text.context, config.text.vocabulary - 1
    noise, colours = rng.standard_normal((batch, 3, size, size)), rng.randn(batch, 3, 1, 1)
    images = (noise + 2 * colours).astype(np.float32)
    ids = rng.randint(0, end, (batch, context))
    for i, row in enumerate(ids):
        last = context - 1 - i * (context // (batch + 1))
        row[last:] = 0
        row[last] = end
    ids[-1, -1] = end
    return images, ids


def graph(config: ClipConfig, scope: Scope, batch: int, length: int) -> tuple[Variables, Variables]:
    """Both towers and the loss, with everything that an `Answer` holds as outputs."""
    size = config.image.resolution
    inputs = {
        "images": nn.Variable((batch, 3, size, size)),
        "ids": nn.Variable((batch, length)),
        "end": nn.Variable((batch, length)),
    }
    with building(scope):
        image, image_outputs = _image(inputs, config)
        text, text_outputs = _text(inputs, config)
        units = {"image": normalise(image), "text": normalise(text)}
        scalars = scalar_parameters(SOFTMAX)
        logits = similarity(units["image"], units["text"], scalars)
        loss = SOFTMAX.graph(units, scalars, 0)
    return inputs, {**image_outputs, **text_outputs, "logits": logits, "loss": loss}


def _image(inputs: Variables, config: ClipConfig) -> tuple[nn.Variable, Variables]:
    hidden: list[nn.Variable] = []
    features = image_tower(inputs["images"], config.image, config.embed, hidden)
    return features, _named("image", hidden, features)


def _text(inputs: Variables, config: ClipConfig) -> tuple[nn.Variable, Variables]:
    hidden: list[nn.Variable] = []
    features = text_tower(inputs, config.text, config.embed, hidden)
    return features, _named("text", hidden, features)


def _named(tower: str, hidden: list[nn.Variable], features: nn.Variable) -> Variables:
    return {**{f"{tower}/{i}": x for i, x in enumerate(hidden)}, f"{tower}/features": features}


def _arrays(images: np.ndarray, ids: np.ndarray) -> Arrays:
    return {"images": images, "ids": ids.astype(np.int32), "end": FirstHighest()(ids)}


def by_nnabla(
    config: ClipConfig, scope: Scope, images: np.ndarray, ids: np.ndarray, gradients: bool = True
) -> Answer:
    """The answer of NNabla itself, without anything compiled."""
    inputs, outputs = graph(config, scope, *ids.shape)
    for name, array in _arrays(images, ids).items():
        inputs[name].d = array
    nn.forward_all(list(outputs.values()))
    parameters = flatten(scope) if gradients else {}
    for parameter in parameters.values():
        parameter.grad.zero()
    if gradients:
        outputs["loss"].backward()
    values = {name: np.array(v.d) for name, v in outputs.items()}
    return Answer(values, {name: np.array(v.g) for name, v in parameters.items()})


def by_compiled_step(
    config: ClipConfig, scope: Scope, images: np.ndarray, ids: np.ndarray
) -> Answer:
    """The answer of one compiled training step in fp32; its gradients lie in the parameters."""
    inputs, outputs = graph(config, scope, *ids.shape)
    parameters = flatten(scope)
    values = compile_step(inputs, outputs, parameters)(**_arrays(images, ids))
    return Answer(values, {name: v.g for name, v in parameters.items()})


def by_compiled_graph(
    config: ClipConfig, scope: Scope, images: np.ndarray, ids: np.ndarray
) -> Answer:
    """Hidden states and features by the compiled towers in fp32, built for another batch."""
    arrays, values = _arrays(images, ids), {}
    for build, names in ((_image, ("images",)), (_text, ("ids", "end"))):
        inputs = {name: nn.Variable((2, *arrays[name].shape[1:])) for name in names}
        with building(scope):
            outputs = build(inputs, config)[1]
        values |= compile_graph(inputs, outputs)(**{name: arrays[name] for name in names})
    return Answer(values, {})


def differences(found: Answer, expected: Answer) -> dict[str, float]:
    """Each value's and each gradient's difference as a part of what is tolerated.

    Values: the largest difference within a feature, a token or a row, over its norm. Gradients:
    the norm of the difference over the norm, tensor by tensor. Everything in `found` counts.
    """
    parts = {}
    for name, value in found.values.items():
        wanted = expected.values[name]
        assert value.shape == wanted.shape, (name, value.shape, wanted.shape)
        wanted, value = np.atleast_1d(wanted), np.atleast_1d(value)
        norm = np.linalg.norm(wanted, axis=-1, keepdims=True)
        parts[name] = float((np.abs(value - wanted) / norm).max()) / VALUES_TOLERANCE
    for name, gradient in found.gradients.items():
        wanted = expected.gradients[name]
        assert gradient.shape == wanted.shape, (name, gradient.shape, wanted.shape)
        error = np.linalg.norm(gradient - wanted) / np.linalg.norm(wanted)
        parts[f"gradient of {name}"] = float(error) / GRADIENT_TOLERANCE
    return parts


def assert_same(found: Answer, expected: Answer) -> None:
    """Fail with everything that differs by more than is tolerated (NaN differs)."""
    parts = differences(found, expected)
    assert not {name: part for name, part in parts.items() if not part <= 1}
