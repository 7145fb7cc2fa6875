"""What a tower is, and all that there are: a new one is a file in this folder and a row below.

A tower is a frozen dataclass that holds what shapes and metadata tell, and knows how to read
itself from a file, to build its graph, and to say what it is. Nothing outside this folder asks
which tower it has.

Axes: N batch, R resolution, L tokens, E width of the features.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.bert import BertConfig
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.derived import Beside
from nnclip.graph.fastvit import FastVitConfig
from nnclip.graph.naflex import NaflexConfig
from nnclip.graph.nllb import NllbConfig
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.graph.text import TextConfig
from nnclip.graph.torch_resnet import ResNetConfig
from nnclip.graph.vit import VitConfig
from nnclip.image import Preprocess
from nnclip.nnabla import nn
from nnclip.text import AnyTokenizer


class ImageTower(Protocol):
    """An image tower: square images in, features out. Its tensors stand below `visual`.

    Attributes:
        side: "image".
    """

    side: ClassVar[Literal["image"]]

    @property
    def resolution(self) -> int:
        """Pixels along a side of its input: that of `preprocess`."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes its input."""
        ...

    @property
    def kind(self) -> str:
        """What it is called in a sentence, as "vision transformer with patches of 8 pixels"."""
        ...

    @property
    def stride(self) -> int:
        """Pixels along a side of what one token or one place of the last stage stands for."""
        ...

    @property
    def whole_strides(self) -> bool:
        """Whether the resolution must be a multiple of the stride; else pixels are left over."""
        ...

    @property
    def positions(self) -> GridPositions | None:
        """The positions that belong to one resolution; None if any resolution fits."""
        ...

    @classmethod
    def read(cls, reader: Reader) -> "tuple[ImageTower, int] | None":
        """The tower of a file, and the width of its features; None if the file has another one.

        Raises:
            CheckpointError: it is one of this kind, and not whole.
        """
        ...

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        ...

    def describe(self) -> str:
        """The kind and the sizes, in one line."""
        ...

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """Features (N, E), not normalised; makes the parameters that the current scope lacks.

        Args:
            images_N3RR: float, from `preprocess`.
            width: of the features.
            hidden: where given, the output of each block or stage is appended to it.
            trained_statistics: let batch normalisations use the statistics of the batch and move
                their running ones.
        """
        ...


class TextTower(Protocol):
    """A text tower: token ids in, features out.

    Attributes:
        side: "text".
    """

    side: ClassVar[Literal["text"]]

    @property
    def vocabulary(self) -> int:
        """Rows of the token table."""
        ...

    @property
    def context(self) -> int:
        """Tokens of the longest text, start and end included."""
        ...

    @property
    def pad(self) -> int:
        """The id that fills up short texts."""
        ...

    @property
    def beside(self) -> Beside:
        """The inputs that the graph reads beside `ids`, and what makes them of the ids."""
        ...

    @property
    def trims(self) -> str | None:
        """Which input of `beside` is 0 in all columns that change no feature; None if none is.

        Only by this input texts are ever cut to their longest (see `beside.used_columns`). Where a
        token sees padding, or a fixed position is read, there is no such input, every text has
        all `context` columns, and graphs of another length cannot be built.
        """
        ...

    @property
    def kind(self) -> str:
        """What it is called in a sentence, as "causal text transformer"."""
        ...

    @property
    def cleaning(self) -> str:
        """What is done to a text before its tokenizer.json, for who feeds an exported file."""
        ...

    @classmethod
    def read(cls, reader: Reader) -> "tuple[TextTower, int] | None":
        """As `ImageTower.read`."""
        ...

    def metadata(self) -> dict[str, Any]:
        """As `ImageTower.metadata`."""
        ...

    def describe(self) -> str:
        """As `ImageTower.describe`."""
        ...

    def build(
        self,
        inputs: Mapping[str, nn.Variable],
        width: int,
        hidden: list[nn.Variable] | None = None,
    ) -> nn.Variable:
        """Features (N, E), not normalised; makes the parameters that the current scope lacks.

        Args:
            inputs: ids (N, L) and those of `beside`, as `beside.empty_inputs` makes them.
            width: of the features.
            hidden: where given, the output of each block is appended to it.
        """
        ...

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> AnyTokenizer:
        """The tokenizer that belongs to it.

        Args:
            metadata: of its file; `tokenizer` holds the JSON of one.
            path: the file, for errors.

        Raises:
            CheckpointError: it does not fit the token table, or there is none.
            DataError: a trained vocabulary is none.
        """
        ...


Tower = ImageTower | TextTower
AnImageTower = TypeVar("AnImageTower", bound=ImageTower)
ATextTower = TypeVar("ATextTower", bound=TextTower)

# The first that says a file is its own reads it.
IMAGE_TOWERS: tuple[type[ImageTower], ...] = (
    ClipResNetConfig,
    ResNetConfig,
    ConvNextConfig,
    FastVitConfig,
    NaflexConfig,
    VitConfig,
)
TEXT_TOWERS: tuple[type[TextTower], ...] = (BertConfig, NllbConfig, TextConfig)


def read_image(reader: Reader) -> tuple[ImageTower, int]:
    """The image tower of a file and the width of its features; CheckpointError if it has none."""
    for kind in IMAGE_TOWERS:
        if found := kind.read(reader):
            return found
    raise _none_known("image", reader)


def read_text(reader: Reader) -> tuple[TextTower, int]:
    """The text tower of a file and the width of its features; CheckpointError if it has none."""
    for kind in TEXT_TOWERS:
        if found := kind.read(reader):
            return found
    raise _none_known("text", reader)


def read_tower(side: str, reader: Reader) -> tuple[Tower, int]:
    """The tower of that side ("image" or "text"); CheckpointError if the file has none."""
    return read_image(reader) if side == "image" else read_text(reader)


def _none_known(side: str, reader: Reader) -> CheckpointError:
    shown = ", ".join(list(reader.shapes)[:3]) or "none"
    return CheckpointError(
        f"found no {side} tower (the first tensors: {shown}); this is no whole model that nnclip "
        "knows (convert foreign files with convert/torch_to_h5.py)"
    )


def at_resolution(tower: AnImageTower, resolution: int) -> AnImageTower:
    """The tower for images of another resolution; ConfigError if it cannot have that one.

    Its positions, where it has any, are those of the old resolution: see `GridPositions.resized`.
    """
    stride = tower.stride
    if resolution < stride or (tower.whole_strides and resolution % stride):
        kind = f"a multiple of {stride}" if tower.whole_strides else f"at least {stride}"
        raise ConfigError(f"--image-size: found {resolution}, expected {kind}")
    changed = {"preprocess": tower.preprocess.at(resolution)}
    return dataclasses.replace(tower, **changed)  # type: ignore[type-var]


def for_tokens(tower: ATextTower, vocabulary: int, context: int) -> ATextTower:
    """The tower for texts of another tokenizer and of at most `context` tokens."""
    changed = {"vocabulary": vocabulary, "context": context}
    return dataclasses.replace(tower, **changed)  # type: ignore[type-var]
