"""The image tower: a vision transformer.

Axes: N batch, R resolution, G patches along a side, P pixels along a patch, L = 1 + G * G tokens,
D width, E embedding.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from nnclip.errors import CheckpointError
from nnclip.graph.layers import (
    affine,
    layer_norm,
    linear,
    parameter,
    projected,
    projection_matrix,
)
from nnclip.graph.pooling import attention_pool, query_pool
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.graph.rope import Rope, Turns
from nnclip.graph.stems import Stem, read_stem
from nnclip.graph.transformer import BlockConfig, BlockInit, every_row, transformer
from nnclip.image import Preprocess
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn

POSITIONS = "visual/positional_embedding"
QUERY = "visual/attn_pool/query"


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer: square images, square patches.

    What another family changes is a field with CLIP's value as its default: an `option` where
    metadata tells it, read in `read` where a tensor's presence does.

    Attributes:
        preprocess: how an image becomes its input.
        patch: pixels along a side of a patch, or of a place that the stem makes.
        blocks: the transformer.
        pool: what is read: "class" the class token, "mean" the mean of the patches, "attention"
            one learned query over all tokens with an MLP behind it, "queries" the first of several
            as wide as the features, between two norms.
        pool_heads: of such a query.
        pool_hidden: width inside the MLP behind that query, 0 for that of the blocks.
        pool_queries: how many there are, 0 where `pool` is another.
        norm_after_pool: whether the last norm comes after the pool, not before.
        class_token: whether there is one.
        placed: which tokens have positions: "all", "patches" or "none".
        patch_bias: whether the patch embedding has a bias.
        norm_before: whether a norm comes before the blocks.
        pooler: whether a dense layer with tanh comes before the projection.
        projection: "matrix" (D, E), "linear" with a bias, or "none".
        stem: what makes tokens of the image in the place of the patch embedding; None for that.
        features: width that a file projects to, where it does; not a part of what the tower is.
        rope: whether patches are turned by where they lie: "none", "yx" or "xy", see `Rope`.
        rope_reference: see `Rope`.
        rope_offset: see `Rope`.
    """

    preprocess: Preprocess
    patch: int  # pixels
    blocks: BlockConfig
    pool: str = option("image_pool", "class", ("class", "mean", "attention", "queries"))
    pool_heads: int = option("image_pool_heads", 0, ())
    norm_after_pool: bool = option("image_norm_after_pool", False, (True, False))
    rope: str = option("image_rope", "none", ("none", "yx", "xy"))
    rope_reference: int = option("image_rope_reference", 0, ())
    rope_offset: int = option("image_rope_offset", 0, ())
    pool_hidden: int = 0
    pool_queries: int = 0
    class_token: bool = True
    placed: str = "all"
    patch_bias: bool = False
    norm_before: bool = True
    pooler: bool = False
    projection: str = "matrix"
    stem: Stem | None = None
    features: int = field(default=0, repr=False, compare=False)

    side: ClassVar[Literal["image"]] = "image"

    @property
    def whole_strides(self) -> bool:
        """See `ImageTower`."""
        return self.stem is not None

    @property
    def positions(self) -> GridPositions | None:
        """See `ImageTower`."""
        before = int(self.class_token and self.placed == "all")
        return None if self.placed == "none" else GridPositions(POSITIONS, before)

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def tokens(self) -> int:
        """Number of patches, and the class token where there is one."""
        return (self.resolution // self.patch) ** 2 + self.class_token

    @property
    def stride(self) -> int:
        """Pixels along a side of a patch."""
        return self.patch

    @property
    def kind(self) -> str:
        """See `ImageTower`."""
        if self.stem is not None:
            return f"vision transformer after {self.stem.kind}"
        return f"vision transformer with patches of {self.patch} pixels"

    @classmethod
    def read(cls, reader: Reader) -> "tuple[VitConfig, int] | None":
        """The tower of these tensors; None if there are no transformer blocks or class token."""
        if not any(map(reader.has, ("visual/transformer/", "visual/class_embedding"))):
            return None
        stem = read_stem(reader)
        patch = stem.stride if stem else reader.shape("visual/conv1/W", 4)[3]
        class_token = reader.has("visual/class_embedding")
        placed, grid = _placed(reader, class_token)
        projection, width = _projection(reader)
        blocks = BlockConfig.read(reader, "visual/", "image")
        config = cls(
            preprocess=reader.preprocess(Preprocess(grid * patch) if grid else Preprocess(), patch),
            patch=patch,
            blocks=blocks,
            class_token=class_token,
            placed=placed,
            patch_bias=reader.has("visual/conv1/b"),
            norm_before=reader.has("visual/ln_pre/"),
            pooler=reader.has("visual/pooler/"),
            projection=projection,
            features=width,
            stem=stem,
            pool_hidden=_pool_hidden(reader, blocks.hidden),
            pool_queries=reader.shape(QUERY, 2)[0] if reader.has(QUERY) else 0,
            **reader.options(cls),
        )
        config.check_rope()
        config.check_pool(width)
        return config, width or config.blocks.width

    def check_pool(self, width: int) -> None:
        """CheckpointError unless the heads of its pool, where it has some, divide their width.

        Args:
            width: of the features, 0 where they are not projected.
        """
        if self.pool not in ("attention", "queries"):
            return
        inside = width or self.blocks.width
        inside = inside if self.pool == "queries" else self.blocks.width
        if not self.pool_heads or inside % self.pool_heads:
            raise CheckpointError(
                f"metadata image_pool_heads: found {self.pool_heads}, expected a divisor of the "
                f"width {inside} of the query"
            )

    def check_rope(self) -> None:
        """CheckpointError unless heads and coordinates can be turned as `rope` says."""
        if self.rope == "none":
            return
        head = self.blocks.width // self.blocks.heads
        if head % 4 or not self.rope_reference:
            raise CheckpointError(
                f"metadata image_rope {self.rope}: found heads of {head} channels and "
                f"image_rope_reference {self.rope_reference}, expected a multiple of 4 and at "
                "least 1 patch"
            )

    def metadata(self) -> dict[str, Any]:
        """What a file must say for `read` to find this tower again."""
        return {
            "activation": self.blocks.activation,
            "image_heads": self.blocks.heads,
            "layer_norm_eps": self.blocks.eps,
            **({"image_positions": "none"} if self.placed == "none" else {}),
            **({"image_projection": "none"} if self.projection == "none" else {}),
            **self.preprocess.metadata(),
            **option_metadata(self.blocks, "image_"),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return f"{self.kind}: {self.blocks.describe()}, {self.resolution} pixels"

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`; it has no batch normalisations."""
        return image_tower(images_N3RR, self, width, hidden)


def _placed(reader: Reader, class_token: bool) -> tuple[str, int]:
    """Which tokens have positions, and the patches along a side; 0 where nothing tells them."""
    if reader.metadata.get("image_positions") == "none" and not reader.has(POSITIONS):
        return "none", 0
    rows = reader.shape(POSITIONS, 2)[0]
    for placed, before in (("all", class_token), ("patches", 0)):
        grid = round((rows - before) ** 0.5)
        if grid * grid + before == rows:
            return placed, grid
    expected = "one more than a square" if class_token else "a square"
    raise CheckpointError(f"tensor {POSITIONS}: found {rows} tokens, expected {expected}")


def _projection(reader: Reader) -> tuple[str, int]:
    """How features are projected, and to what width; 0 where they are not."""
    if reader.has("visual/head/"):
        return "linear", reader.shape("visual/head/W", 2)[0]
    if reader.metadata.get("image_projection") == "none" and not reader.has("visual/proj"):
        return "none", 0
    return "matrix", reader.shape("visual/proj", 2)[1]


def _pool_hidden(reader: Reader, blocks: int) -> int:
    """Width inside the MLP of the pool, 0 where it is that of the blocks or there is none."""
    name = "visual/attn_pool/mlp/c_fc/W"
    hidden = reader.shape(name, 2)[0] if reader.has(name) else blocks
    return 0 if hidden == blocks else hidden


def tokens_of(images_N3RR: nn.Variable, config: VitConfig) -> nn.Variable:
    """(N, 3, R, R) -> (N, G * G, D): by the stem, or by the patch embedding."""
    if config.stem is None:
        return embed_patches(images_N3RR, config)
    blocks = config.blocks
    x_NDGG = config.stem.build(images_N3RR, blocks.width, blocks.eps)
    x_NDL = F.reshape(x_NDGG, (images_N3RR.shape[0], blocks.width, -1))
    return F.transpose(x_NDL, (0, 2, 1))


def embed_patches(images_N3RR: nn.Variable, config: VitConfig) -> nn.Variable:
    """(N, 3, R, R) -> (N, G * G, D): the patch convolution, written as one product."""
    n, patch, width = images_N3RR.shape[0], config.patch, config.blocks.width
    bound = 1 / math.sqrt(3 * patch * patch)
    uniform = UniformInitializer((-bound, bound))
    with nn.parameter_scope("conv1"):
        w_D3PP = parameter("W", (width, 3, patch, patch), uniform)
        b_D = parameter("b", (width,), uniform) if config.patch_bias else None
    grid = config.resolution // patch
    used = grid * patch  # a convolution drops the pixels of an incomplete patch
    if used != config.resolution:
        images_N3RR = images_N3RR[:, :, :used, :used]
    x = F.reshape(images_N3RR, (n, 3, grid, patch, grid, patch))
    x = F.reshape(F.transpose(x, (0, 2, 4, 1, 3, 5)), (n, grid * grid, 3 * patch * patch))
    return affine(x, F.reshape(w_D3PP, (width, 3 * patch * patch)), b_D)


def token_constants(config: VitConfig) -> nn.Variable | None:
    """What is added to the tokens (1, L, D): class token and positions; None if there is neither.

    Joined to the positions, which know no batch, the class token is one constant for the compiler.
    """
    width, found = config.blocks.width, None
    scaled = NormalInitializer(width**-0.5)
    if config.class_token:
        class_D = parameter("class_embedding", (width,), scaled)
        found = F.pad(F.reshape(class_D, (1, 1, -1)), (0, 0, 0, config.tokens - 1, 0, 0))
    if config.placed == "none":
        return found
    before = int(config.class_token and config.placed == "patches")
    rows = config.tokens - before
    position_LD = parameter("positional_embedding", (rows, width), scaled)
    position_1LD = F.reshape(position_LD, (1, rows, width))
    if before:
        position_1LD = F.pad(position_1LD, (0, 0, before, 0, 0, 0))
    return position_1LD if found is None else position_1LD + found


def placed_tokens(images_N3RR: nn.Variable, config: VitConfig, embed: int) -> nn.Variable:
    """What the first block takes, (N, L, D).

    It also makes the projection's matrix, in the order of published files.
    """
    constant_1LD = token_constants(config)
    if config.projection == "matrix":
        inside = embed if config.pool == "queries" else config.blocks.width
        projection_matrix(inside, embed, "proj")
    x_NLD = tokens_of(images_N3RR, config)
    if config.class_token:
        x_NLD = F.pad(x_NLD, (0, 0, 1, 0, 0, 0))
    if constant_1LD is not None:
        x_NLD = x_NLD + constant_1LD
    return layer_norm(x_NLD, "ln_pre", config.blocks.eps) if config.norm_before else x_NLD


def image_tower(
    images_N3RR: nn.Variable,
    config: VitConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of images, under the scope `visual`.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only its class token (N, 1, D) where that is what is read.

    Returns: features_NE, not normalised.
    """
    blocks = config.blocks
    with nn.parameter_scope("visual"):
        x_NMD = transformer(
            placed_tokens(images_N3RR, config, embed),
            blocks,
            init=BlockInit(),
            mask=None,
            last_rows=(lambda x: x[:, :1, :]) if config.pool == "class" else every_row,
            last_mask=None,
            hidden=hidden,
            turns_1LC=turns_of(config),
        )
        return read(x_NMD, config, embed)


def turns_of(config: VitConfig) -> Turns | None:
    """By which queries and keys are turned; None where they are not."""
    if config.rope == "none":
        return None
    rope = Rope(config.rope, config.rope_reference, config.rope_offset)
    grid, width = config.resolution // config.patch, config.blocks.width // config.blocks.heads
    return rope.turns(grid, int(config.class_token), width)


def read(x_NLD: nn.Variable, config: VitConfig, embed: int, each: bool = False) -> nn.Variable:
    """Features of the last block's tokens: norm, pool and projection.

    Args:
        x_NLD: the tokens; (N, 1, D) where only the class token is read.
        config: the tower.
        embed: width of the features.
        each: read each token as if it were all that the pool sees.

    Returns: features_NE; of each token (N * L, E).
    """
    eps = config.blocks.eps
    if not config.norm_after_pool:
        x_NLD = layer_norm(x_NLD, "ln_post", eps)
    x_NMD = _pooled(x_NLD, config, embed, each)
    if config.norm_after_pool:
        x_NMD = layer_norm(x_NMD, "ln_post", eps)
    flat = F.reshape(x_NMD, (-1, x_NMD.shape[2]))
    if config.pooler:
        flat = F.tanh(linear(flat, config.blocks.width, "pooler"))
    name = "head" if config.projection == "linear" else "proj"
    return projected(flat, embed, config.projection, name)


def _pooled(x_NMD: nn.Variable, config: VitConfig, embed: int, each: bool) -> nn.Variable:
    """Tokens -> the one that is read, (N, 1, D); of several queries (N, 1, E)."""
    if config.pool == "mean" and not each:
        patches_NLD = x_NMD[:, 1:, :] if config.class_token else x_NMD
        return F.mean(patches_NLD, axis=1, keepdims=True)
    if config.pool == "attention":
        hidden = config.pool_hidden or config.blocks.hidden
        return attention_pool(x_NMD, config.blocks, config.pool_heads, hidden, each)
    if config.pool == "queries":
        eps, queries = config.blocks.eps, config.pool_queries
        return query_pool(x_NMD, embed, queries, config.pool_heads, eps, each)
    return x_NMD
