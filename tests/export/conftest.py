"""Small models of every kind of tower."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from nnclip.clip import CLIP
from nnclip.graph.bert import BertConfig
from nnclip.graph.config import ClipConfig, ClipResNetConfig, ResNetConfig, TextConfig
from nnclip.graph.heads import HeadConfig
from nnclip.graph.parameters import Scope, flatten, make_parameters
from nnclip.graph.transformer import BlockConfig
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights, save_model

WORDS = ("<s>", "<pad>", "</s>", "?", "a", "dog", "cat", "that", "sleeps", "red", "circle", "on")
MODELS = {
    "vit": None,  # the one that all tests share
    "resnet of clip": ClipConfig(
        20,
        ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 8, 8),
        TextConfig(49408, 16, BlockConfig(16, 2, 2, 32)),
    ),
    "heads on resnet and roberta": ClipConfig(
        20,
        ResNetConfig(Preprocess(38), (1, 1, 1, 1), True),
        BertConfig(14, 18, 16, BlockConfig(24, 2, 3, 40, "gelu"), 1, 1, 2, "mean"),
        HeadConfig(2048, 20),
        HeadConfig(24, 20, 1),
    ),
    "resnet and bert": ClipConfig(
        512,
        ResNetConfig(Preprocess(38), (1, 1, 1, 1), False),
        BertConfig(14, 16, 16, BlockConfig(24, 2, 3, 40, "gelu"), 2, 1, projection=512),
    ),
}


def tokenizer_json() -> str:
    """A tokenizer of whole words, as an encoder's tokenizer.json."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made.to_str()


def lively(scope: Scope) -> Scope:
    """Move statistics and biases away from their beginning, where a mistake would not show."""
    rng = np.random.default_rng(3)
    for variable in flatten(scope).values():
        if variable.ndim < 2:
            variable.d += 0.1 * rng.random(variable.shape)
    return scope


@pytest.fixture(scope="module", params=MODELS)
def model(request, small_h5: Path, tmp_path_factory) -> CLIP:
    """One model after the other."""
    config = MODELS[request.param]
    if config is None:
        return CLIP(small_h5, precision="fp32")
    path = tmp_path_factory.mktemp("models") / "model.h5"
    metadata = {"tokenizer": tokenizer_json()} if isinstance(config.text, BertConfig) else {}
    save_model(path, ModelWeights(config, lively(make_parameters(config, seed=1)), metadata))
    return CLIP(path, precision="fp32")
