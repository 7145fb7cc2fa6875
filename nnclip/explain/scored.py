"""A tower and its score: the cosine of its features with a direction.

Axes: R resolution, E embedding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nnclip.graph.beside import empty_inputs
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building
from nnclip.graph.similarity import normalise
from nnclip.nnabla import F, get_extension_context, nn
from nnclip.weights.model import ModelWeights

# inputs by name, the score (1,), the output of each block or stage
Scored = tuple[dict[str, nn.Variable], nn.Variable, list[nn.Variable]]


@contextmanager
def single_image(weights: ModelWeights) -> Iterator[nn.Variable]:
    """Gives (1, 3, R, R); inside, graphs are built in the scope of the model's parameters."""
    size = weights.config.image.resolution
    with building(weights.scope), nn.context_scope(get_extension_context("cpu")):
        yield nn.Variable((1, 3, size, size))


@contextmanager
def images_scored(weights: ModelWeights) -> Iterator[Callable[[], Scored]]:
    """Gives what builds the image tower for one image, in the scope of its parameters."""
    with single_image(weights) as images:

        def scored() -> Scored:
            hidden = list[nn.Variable]()
            features = image_features(images, weights.config, hidden)
            direction = nn.Variable(features.shape)
            inputs = {"images": images, "direction": direction}
            return inputs, _cosine(features, direction), hidden

        yield scored


@contextmanager
def texts_scored(weights: ModelWeights) -> Iterator[Callable[[], Scored]]:
    """The same for the text tower, and one text of all its context."""
    config, hidden = weights.config, list[nn.Variable]()

    def scored() -> Scored:
        inputs = empty_inputs(config.text, 1, config.text.context)
        features = text_features(inputs, config, hidden)
        direction = nn.Variable(features.shape)
        return {**inputs, "direction": direction}, _cosine(features, direction), hidden

    with building(weights.scope), nn.context_scope(get_extension_context("cpu")):
        yield scored


def _cosine(features_1E: nn.Variable, direction_1E: nn.Variable) -> nn.Variable:
    return F.sum(normalise(features_1E) * direction_1E, axis=1)
