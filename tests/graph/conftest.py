"""All that a graph computes, and how far it is from what it should be.

Axes: N batch, R resolution, L tokens, D width.
"""

from collections.abc import Callable

import nnabla as nn
import numpy as np
import pytest

from nnclip.convert.answers import Answers, relative_difference
from nnclip.graph.config import ClipConfig
from nnclip.graph.derived import FirstHighest
from nnclip.graph.losses import LOSSES, scalar_parameters
from nnclip.graph.parameters import Scope, building, flatten
from nnclip.graph.similarity import normalise, similarity
from nnclip.graph.text import text_tower
from nnclip.graph.vit import image_tower


def of_graph(
    config: ClipConfig, scope: Scope, images_N3RR: np.ndarray, ids_NL: np.ndarray
) -> Answers:
    images, ids = map(nn.Variable.from_numpy_array, (images_N3RR, ids_NL))
    end = nn.Variable.from_numpy_array(FirstHighest()(ids_NL))
    hidden: dict[str, list[nn.Variable]] = {"image": [], "text": []}
    parameters = flatten(scope)
    for variable in parameters.values():
        variable.need_grad, variable.g = True, 0
    with building(scope):
        image_NE = image_tower(images, config.image, config.embed, hidden["image"])
        text_NE = text_tower({"ids": ids, "end": end}, config.text, config.embed, hidden["text"])
        units = {"image": normalise(image_NE), "text": normalise(text_NE)}
        scalars = scalar_parameters(LOSSES[config.loss])
        logits_NN = similarity(units["image"], units["text"], scalars)
        loss = LOSSES[config.loss].graph(units, scalars, 0)
    for variable in (image_NE, text_NE, logits_NN, *hidden["image"], *hidden["text"]):
        variable.persistent = True  # else its memory is used again
    nn.forward_all([logits_NN, loss])
    loss.backward(clear_buffer=True)
    return Answers(
        {tower: [x.d.copy() for x in states] for tower, states in hidden.items()},
        {"image": image_NE.d.copy(), "text": text_NE.d.copy()},
        logits_NN.d.copy(),
        float(loss.d),
        {name: v.g.copy() for name, v in parameters.items()},
    )


def compare(found: Answers, expected: Answers, ids_NL: np.ndarray) -> dict[str, float]:
    result = {}
    for tower, states in expected.hidden.items():
        read_N = ids_NL.argmax(1) if tower == "text" else np.zeros(len(ids_NL), int)
        for i, state_NLD in enumerate(states):
            if i == len(states) - 1:  # here the graph computes only the token that is read
                state_NLD = state_NLD[np.arange(len(read_N)), read_N][:, None]
            assert found.hidden[tower][i].shape == state_NLD.shape
            result[f"{tower} block {i}"] = relative_difference(found.hidden[tower][i], state_NLD)
        result[f"{tower} features"] = relative_difference(
            found.features[tower], expected.features[tower]
        )
    result["logits"] = relative_difference(found.logits, expected.logits)
    result["loss"] = abs(found.loss - expected.loss) / abs(expected.loss)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        off = np.linalg.norm(found.gradients[name] - gradient)
        result[f"gradient of {name}"] = float(off / np.linalg.norm(gradient))
    return result


@pytest.fixture(scope="session")
def graph_answers() -> Callable[..., Answers]:
    """(config, scope, images, ids) -> what the graph makes of them, in NNabla, and gradients."""
    return of_graph


@pytest.fixture(scope="session")
def differences() -> Callable[..., dict[str, float]]:
    """(found, expected, ids) -> stage -> largest relative difference; of gradients the norm's."""
    return compare


@pytest.fixture(scope="session")
def too_far() -> Callable[[dict[str, float]], dict[str, float]]:
    """The stages that differ by more than what is promised: 2e-5, and 1e-4 for gradients."""

    def select(found: dict[str, float]) -> dict[str, float]:
        limits = {stage: 1e-4 if stage.startswith("gradient") else 2e-5 for stage in found}
        return {stage: far for stage, far in found.items() if not far <= limits[stage]}

    return select
