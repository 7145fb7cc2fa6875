"""A small random model for every tower, and for every option that one has.

An image tower stands beside PLAIN_TEXT, a text tower beside PLAIN_IMAGE. `test_samples.py` fails
where a tower, an option or a value of one has no sample.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers

from nnclip.graph.bert import BertConfig
from nnclip.graph.config import (
    BlockConfig,
    ClipConfig,
    ClipResNetConfig,
    ResNetConfig,
    TextConfig,
    VitConfig,
)
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.fastvit import FastVitConfig, Stage
from nnclip.graph.naflex import NaflexConfig
from nnclip.graph.nllb import NllbConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.graph.stems import MBConvStem, PatchesStem
from nnclip.graph.towers import ImageTower, TextTower
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights, save_model

WORDS = ("<s>", "<pad>", "</s>", "?", "a", "dog", "cat", "that", "sleeps", "red", "circle", "on")
OPENAI, ROWS, CONTEXT = 49408, 14, 16  # rows of token tables, tokens


def vit(size: int = 16, patch: int = 8, blocks: BlockConfig | None = None, **options) -> VitConfig:
    return VitConfig(Preprocess(size), patch, blocks or BlockConfig(16, 2, 2, 32), **options)


def encoder(**options) -> TextConfig:
    """CLIP's text transformer with the tokenizer of WORDS."""
    blocks = options.pop("blocks", BlockConfig(16, 2, 2, 32))
    told = {"tokens": "json", "pad": 1, "clean": "whitespace"} | options
    return TextConfig(ROWS, CONTEXT, blocks, **told)


PLAIN_IMAGE = vit(blocks=BlockConfig(16, 1, 2, 32))
PLAIN_TEXT = encoder(blocks=BlockConfig(16, 1, 2, 32))


class Sample(NamedTuple):
    """A tower, and the width of its features."""

    tower: ImageTower | TextTower
    width: int = 20

    @property
    def config(self) -> ClipConfig:
        if self.tower.side == "image":
            return ClipConfig(self.width, self.tower, PLAIN_TEXT)
        return ClipConfig(self.width, PLAIN_IMAGE, self.tower)


def gated(activation: str, **options) -> BlockConfig:
    return BlockConfig(16, 2, 2, 40, activation, 1e-6, gated=True, **options)


IMAGES: Mapping[str, Sample] = {
    "clip's vit": Sample(vit()),
    "clip's resnet": Sample(ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 8, 8)),
    "resnet 18": Sample(ResNetConfig(Preprocess(38), (1, 1, 1, 1), False), 512),
    "resnet 50": Sample(ResNetConfig(Preprocess(38), (1, 1, 1, 1), True), 2048),
    "convnext": Sample(ConvNextConfig(Preprocess(64), (1, 1, 1, 1), (8, 16, 24, 32))),
    "convnext xxl": Sample(
        ConvNextConfig(Preprocess(32), (1, 2, 1, 1), (8, 8, 16, 16), projection="mlp", eps=1e-5)
    ),
    "fastvit": Sample(
        FastVitConfig(
            Preprocess(32),
            (
                Stage(1, 16, 32, False, 0, positions=False, attends=False, normalised=False),
                Stage(2, 32, 64, True, 8, positions=True, attends=True, normalised=True),
            ),
            width=64,
            squeezed=4,
        )
    ),
    "siglip": Sample(
        vit(
            blocks=BlockConfig(16, 2, 2, 32, "gelu_tanh", 1e-6),
            class_token=False,
            patch_bias=True,
            norm_before=False,
            pool="attention",
            pool_heads=4,
            projection="none",
        ),
        16,
    ),
    "perception": Sample(
        vit(
            size=20,  # the last pixels are not read
            blocks=BlockConfig(16, 2, 2, 32, "gelu"),
            pool="attention",
            pool_heads=2,
            pool_hidden=24,
            projection="linear",
            rope="xy",
            rope_reference=2,
            rope_offset=1,
        )
    ),
    "eva 2": Sample(
        vit(
            blocks=gated("silu", key_bias=False, attention_norm=True, hidden_norm=True),
            patch_bias=True,
            norm_before=False,
            projection="linear",
            rope="yx",
            rope_reference=4,
        )
    ),
    "eva 2 e": Sample(
        vit(blocks=BlockConfig(16, 2, 2, 32, "gelu", 1e-6, post_norm=True), projection="linear")
    ),
    "clipa": Sample(
        vit(blocks=BlockConfig(16, 2, 2, 32, "gelu"), pool="mean", norm_before=False)
    ),
    "vitamin": Sample(
        vit(
            size=32,
            patch=16,
            blocks=gated("gelu", mlp_norm=True),
            stem=MBConvStem(8, (2, 1), (8, 12)),
            class_token=False,
            placed="none",
            norm_before=False,
            pool="mean",
            norm_after_pool=True,
        )
    ),
    "mobileclip b": Sample(
        vit(
            size=32,
            patch=16,
            stem=PatchesStem((8, 12)),
            placed="patches",
            norm_before=False,
            projection="linear",
        )
    ),
    "naflex": Sample(
        NaflexConfig(
            Preprocess.of_patches(8, 10), BlockConfig(16, 2, 2, 32, "gelu_tanh", 1e-6), grid=3
        ),
        16,
    ),
    "a pooler": Sample(vit(pooler=True)),
    "coca": Sample(vit(pool="queries", pool_heads=5, pool_queries=3, norm_after_pool=True)),
    "coca as wide as its tokens": Sample(
        vit(pool="queries", pool_heads=2, pool_queries=1, norm_after_pool=True), 16
    ),
}  # fmt: skip
TEXTS: Mapping[str, Sample] = {
    "clip": Sample(TextConfig(OPENAI, CONTEXT, BlockConfig(16, 2, 2, 32))),
    "siglip": Sample(
        encoder(
            blocks=BlockConfig(16, 2, 2, 32, "gelu", 1e-6),
            causal=False,
            pool="last",
            pad=2,
            clean="canonicalize",
            projection="linear",
        )
    ),
    "siglip without a projection": Sample(
        encoder(
            blocks=BlockConfig(16, 2, 2, 32, "gelu_tanh", 1e-6),
            causal=False,
            pool="last",
            projection="none",
        ),
        16,
    ),
    "clipa": Sample(encoder(causal=False, pool="last", zeroed=2)),
    "causal, read at the last": Sample(encoder(pool="last")),
    "mobileclip": Sample(TextConfig(OPENAI, CONTEXT, BlockConfig(16, 1, 2, 32), causal=False)),
    "metaclip 2": Sample(encoder(pool="eos", eos=2)),
    "coca": Sample(TextConfig(OPENAI, CONTEXT, BlockConfig(16, 2, 2, 32), pool="class")),
    "class token without a mask": Sample(encoder(pool="class", causal=False, clean="lower")),
    "words, filled up in front": Sample(encoder(clean="words", pad_left=True, pool="last")),
    "blocks of others": Sample(
        encoder(
            blocks=gated("relu", key_bias=False, attention_norm=True, hidden_norm=True)
        )
    ),
    "norms of others": Sample(
        encoder(blocks=gated("silu", post_norm=True, mlp_norm=True), clean="none")
    ),
    "bert": Sample(
        BertConfig(
            ROWS, CONTEXT, CONTEXT, BlockConfig(16, 2, 2, 32, "gelu", 1e-12), types=2, pad=1
        ),
        16,
    ),
    "m-clip": Sample(
        BertConfig(
            ROWS,
            CONTEXT + 2,
            CONTEXT,
            BlockConfig(16, 2, 2, 32, "gelu", 1e-5),
            types=1,
            pad=1,
            first_position=2,
            pooling="mean",
            projection=20,
            projection_bias=True,
            pooled_norm=True,
        )
    ),
    "distilbert": Sample(
        BertConfig(
            ROWS,
            CONTEXT,
            CONTEXT,
            BlockConfig(16, 2, 2, 32, "gelu", 1e-12),
            pad=1,
            pooling="mean",
            dense=20,
            dense_bias=True,
            dense_activation="tanh",
            clean="whitespace",
        )
    ),
    "roberta in open_clip": Sample(
        BertConfig(
            ROWS,
            CONTEXT + 2,
            CONTEXT,
            BlockConfig(16, 2, 2, 32, "gelu", 1e-5),
            types=1,
            pad=1,
            first_position=2,
            dense=18,
            dense_activation="gelu",
            projection=20,
        )
    ),
    "nllb": Sample(NllbConfig(ROWS, CONTEXT, BlockConfig(16, 2, 2, 32, "relu"))),
    "nllb with another padding": Sample(
        NllbConfig(ROWS, CONTEXT, BlockConfig(16, 1, 2, 32, "relu"), pad=3, clean="lower")
    ),
}  # fmt: skip
SAMPLES = {f"{s.tower.side}: {name}": s for both in (IMAGES, TEXTS) for name, s in both.items()}


def tokenizer_json() -> str:
    """A tokenizer of whole words, as an encoder's tokenizer.json."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made.to_str()


def saved(config: ClipConfig, path: Path) -> Path:
    """A file of this model with random weights, where no mistake hides behind a 0 or a 1."""
    scope, rng = make_parameters(config, seed=1), np.random.default_rng(3)
    for variable in flatten(scope).values():
        if variable.ndim < 2:
            variable.d += 0.1 * rng.random(variable.shape)
        else:
            variable.d += (
                0.5 * rng.normal(size=variable.shape) / (variable.size / len(variable.d)) ** 0.5
            )
    metadata = {"tokenizer": tokenizer_json()} if config.text.tokens == "json" else {}
    save_model(path, ModelWeights(config, scope, metadata))
    return path
