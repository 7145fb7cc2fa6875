"""The graph against the model code that others published: every stage, and all gradients."""

import dataclasses

import nnabla as nn
import pytest

from nnclip.convert.answers import inputs_of
from nnclip.convert.source import DIALECTS
from nnclip.graph.config import PUBLISHED, BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import expected_shapes, scope_of
from nnclip.image import Preprocess

pytestmark = pytest.mark.torch

OPENAI_LIKE = ClipConfig(
    embed=64,
    image=VitConfig(Preprocess(64), 16, BlockConfig(128, 3, 2, 512)),
    text=TextConfig(1000, 20, BlockConfig(64, 3, 1, 256)),
)
# GELU, heads that are not 64 wide, other perceptrons, epsilon, pixels outside whole patches
LAION_LIKE = ClipConfig(
    embed=48,
    image=VitConfig(Preprocess(70), 16, BlockConfig(96, 3, 4, 200, "gelu", 1e-6)),
    text=TextConfig(1000, 20, BlockConfig(80, 2, 5, 320, "gelu", 1e-6)),
)
SIGLIP_LOSS = dataclasses.replace(LAION_LIKE, loss="sigmoid")
CASES = [
    ("openai", OPENAI_LIKE),
    ("open_clip", OPENAI_LIKE),
    ("open_clip", LAION_LIKE),
    ("open_clip", SIGLIP_LOSS),
    ("huggingface", OPENAI_LIKE),
    ("huggingface", LAION_LIKE),
]


def both_sides(name, config, pairs, graph_answers):
    """What the dialect's code and our graph make of the same weights and inputs; and the ids."""
    import torch

    from nnclip.convert import reference
    from nnclip.convert.names import to_published
    from nnclip.convert.tensors import of_array

    torch.manual_seed(0)
    dialect = DIALECTS[name]
    model = dialect.build(config)
    with torch.no_grad():  # fresh gains are 1 and biases 0: they would hide errors
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    images, ids = inputs_of(config, pairs)
    expected = reference.answers(dialect, model, config, images, ids)
    tensors = {k: of_array(p.detach().numpy()) for k, p in model.named_parameters()}
    published = to_published(tensors, dialect.names.writing((config.image, config.text)))
    assert {k: t.shape for k, t in published.items()} == expected_shapes(config)
    scope = scope_of({k: nn.Variable.from_numpy_array(t.read()) for k, t in published.items()})
    del model, tensors, published
    return graph_answers(config, scope, images, ids), expected, ids


@pytest.mark.parametrize(("name", "config"), CASES)
def test_every_stage_and_gradient_agrees(name, config, graph_answers, differences, too_far):
    found, expected, ids = both_sides(name, config, 5, graph_answers)
    assert not too_far(differences(found, expected, ids))


def test_a_wrong_activation_would_be_seen(graph_answers, differences, too_far):
    wrong = dataclasses.replace(
        OPENAI_LIKE,
        image=dataclasses.replace(
            OPENAI_LIKE.image,
            blocks=dataclasses.replace(OPENAI_LIKE.image.blocks, activation="gelu"),
        ),
    )

    def with_gelu(config, *rest):
        return graph_answers(wrong, *rest)

    found, expected, ids = both_sides("openai", OPENAI_LIKE, 3, with_gelu)
    far = too_far(differences(found, expected, ids))
    assert "image features" in far and "text features" not in far


@pytest.mark.heavy
def test_a_full_size_model_agrees(graph_answers, differences, too_far):
    """ViT-B/32 forwards and backwards in NNabla's interpreter; the larger ones take it minutes."""
    found, expected, ids = both_sides("openai", PUBLISHED["ViT-B/32"], 2, graph_answers)
    assert not too_far(differences(found, expected, ids))
