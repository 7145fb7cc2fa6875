"""Fresh parameters: drawn as OpenAI's code draws them, and the same for the same seed."""

import nnabla as nn
import numpy as np
import pytest

from nnclip.graph.config import PUBLISHED, BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import expected_shapes, flatten, make_parameters

# Wide enough for statistics; the towers differ in width and depth, on which they depend.
CONFIG = ClipConfig(
    embed=192,
    image=VitConfig(64, 8, BlockConfig(256, 2, 4, 1024)),
    text=TextConfig(2000, 32, BlockConfig(128, 3, 2, 512)),
)


@pytest.fixture(scope="module")
def drawn():
    return {name: v.d.copy() for name, v in flatten(make_parameters(CONFIG, seed=5)).items()}


def test_the_same_seed_draws_the_same(drawn):
    again = flatten(make_parameters(CONFIG, seed=5))
    other = flatten(make_parameters(CONFIG, seed=6))
    assert drawn.keys() == again.keys() == other.keys()
    for name, array in drawn.items():
        assert again[name].d.tobytes() == array.tobytes()
        constant = array.size == 1 or np.ptp(array) == 0  # gains, biases, logit_scale
        assert (other[name].d.tobytes() == array.tobytes()) == constant, name


def test_drawing_leaves_the_users_random_numbers_and_parameters_alone():
    nn.clear_parameters()
    nn.random.prng = np.random.RandomState(1)
    make_parameters(CONFIG)
    assert nn.random.prng.randint(1 << 30) == np.random.RandomState(1).randint(1 << 30)
    assert not nn.get_parameters(grad_only=False)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("ViT-B/32", 151_277_313),
        ("ViT-B/16", 149_620_737),
        ("ViT-L/14", 427_616_513),
        ("ViT-L/14@336px", 427_944_193),
    ],
)
def test_published_sizes_have_as_many_parameters_as_published(size, parameters):
    shapes = expected_shapes(PUBLISHED[size])
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == parameters


def kind_of(values: np.ndarray) -> str:
    """Constant, uniform or normal: told by the tails, which reach 1.7 or beyond 3 deviations."""
    if values.size == 1 or np.ptp(values) == 0:
        return f"always {values.flat[0]:.4f}"
    reach = np.abs(values - values.mean()).max() / values.std()
    return "uniform" if reach < 2 else "normal"


@pytest.mark.torch
def test_each_tensor_is_drawn_as_openais_code_draws_it(drawn):
    import torch

    from convert import openai, reference
    from convert.names import to_published
    from convert.tensors import of_array

    torch.manual_seed(0)
    model = reference.build(openai.DIALECT, CONFIG)
    tensors = {name: of_array(t.numpy()) for name, t in model.state_dict().items()}
    theirs = {k: t.read() for k, t in to_published(tensors, openai.TABLE).items()}
    assert drawn.keys() == theirs.keys()
    for name, array in drawn.items():
        wanted = theirs[name]
        assert kind_of(array) == kind_of(wanted), name
        if kind_of(array).startswith("always"):
            continue
        # Standard error of a deviation from n samples is s / sqrt(2 n); four of both estimates.
        tolerance = max(0.02, 4 / np.sqrt(array.size))
        assert abs(array.std() / wanted.std() - 1) < tolerance, name
        assert abs(array.mean()) < 5 * wanted.std() / np.sqrt(array.size), name
