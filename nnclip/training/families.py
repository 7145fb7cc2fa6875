"""One size of each family of towers that can be trained from scratch, by open_clip's name.

Where the family has a tokenizer of its own, a run from scratch has OpenAI's, or that of
`--tokenizer`. FastViT and MobileCLIP-B are not among them: their towers are folded, and what was
folded is what makes them trainable.
"""

from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.stems import MBConvStem
from nnclip.image import Preprocess

_VOCABULARY = 49408
_HALF = (0.5, 0.5, 0.5)


def _text(width: int, context: int = 77, pool: str = "argmax") -> TextConfig:
    blocks = BlockConfig(width, 12, width // 64, 4 * width, "gelu")
    return TextConfig(_VOCABULARY, context, blocks, pool=pool)


_SIGLIP_BLOCKS = BlockConfig(768, 12, 12, 3072, "gelu", 1e-6)
_SIGLIP = ClipConfig(
    embed=768,
    image=VitConfig(
        Preprocess(224, "squash", mean=_HALF, std=_HALF),
        16,
        _SIGLIP_BLOCKS,
        pool="attention",
        pool_heads=12,
        class_token=False,
        patch_bias=True,
        norm_before=False,
        projection="none",
    ),
    text=TextConfig(
        _VOCABULARY, 64, _SIGLIP_BLOCKS, causal=False, pool="last", projection="linear"
    ),
    loss="sigmoid",
)
_VITAMIN = VitConfig(
    Preprocess(224),
    16,
    BlockConfig(384, 14, 6, 768, "gelu", 1e-6, gated=True, mlp_norm=True),
    pool="mean",
    norm_after_pool=True,
    class_token=False,
    norm_before=False,
    stem=MBConvStem(64, (2, 4), (64, 128)),
)
_EVA = VitConfig(
    Preprocess(224),
    16,
    BlockConfig(
        768, 12, 12, 2048, "silu", 1e-6,
        key_bias=False, attention_norm=True, gated=True, hidden_norm=True,
    ),
    rope="yx",
    rope_reference=16,
    patch_bias=True,
    norm_before=False,
    projection="linear",
)  # fmt: skip
_PERCEPTION = VitConfig(
    Preprocess(384, "squash", interpolation="bilinear", mean=_HALF, std=_HALF),
    16,
    BlockConfig(192, 12, 3, 768, "gelu"),
    pool="attention",
    pool_heads=8,
    rope="xy",
    rope_reference=24,
    rope_offset=1,
    projection="linear",
)
_COCA = VitConfig(
    Preprocess(224),
    32,
    BlockConfig(768, 12, 12, 3072, "gelu"),
    pool="queries",
    pool_heads=8,
    pool_queries=256,
    norm_after_pool=True,
)
FAMILIES: dict[str, ClipConfig] = {
    "ViT-B-16-SigLIP": _SIGLIP,
    "convnext_base": ClipConfig(
        512, ConvNextConfig(Preprocess(224), (3, 3, 27, 3), (128, 256, 512, 1024)), _text(512)
    ),
    "ViTamin-S": ClipConfig(384, _VITAMIN, _text(384)),
    "EVA02-B-16": ClipConfig(512, _EVA, _text(512)),
    "PE-Core-T-16-384": ClipConfig(512, _PERCEPTION, _text(512, context=32)),
    "coca_ViT-B-32": ClipConfig(512, _COCA, _text(512, context=76, pool="class")),
}
