"""What an embedded collection says about itself: by which model, from what, how it is kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.search.writing import write_text

FORMAT = 1
FILE = "manifest.json"
DTYPES = ("float16", "float32")


class Model(Protocol):
    """What search asks of a model; `nnclip.clip.CLIP` is one."""

    config: Any
    path: Path

    @property
    def logit_scale(self) -> float: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    def digest(self) -> str: ...  # noqa: D102
    def tokenize(self, texts: list[str]) -> np.ndarray: ...  # noqa: D102
    def preprocess_image(self, source: Any) -> np.ndarray: ...  # noqa: D102
    def encode_image(self, images: np.ndarray) -> np.ndarray: ...  # noqa: D102
    def encode_text(self, ids: np.ndarray) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class Manifest:
    """The head of a collection.

    Attributes:
        model: the file or published name it was embedded by; "" for the bundled model.
        digest: of that model's parameters, see `CLIP.digest`.
        precision: how the model computed.
        embed: E, numbers of an embedding.
        dtype: how they are kept, "float16" or "float32".
        sources: folders, tables, tar files and pictures, absolute.
        column: of the tables, the one that holds paths.
        items: number of pictures that were listed.
        shard: pictures of one shard.
    """

    model: str
    digest: str
    precision: str
    embed: int
    dtype: str
    sources: tuple[str, ...] = ()
    column: str = "filepath"
    items: int = 0
    shard: int = 1

    @property
    def shards(self) -> int:
        """Number of shards, the last may be shorter."""
        return -(-self.items // self.shard)

    def check_model(self, model: Model) -> None:
        """ConfigError if `model` is not the one that embedded the collection."""
        found = model.digest()
        if found != self.digest:
            raise ConfigError(
                f"model {model.path} has the parameters {found[:8]}..., expected "
                f"{self.digest[:8]}..., of {self.model or 'the bundled model'}: the collection "
                "was embedded by that one, and embeddings of two models cannot be compared. Name "
                "it with -m, or embed the pictures again"
            )


def manifest_of(model: Model, name: str, dtype: str) -> Manifest:
    """The head of a collection that `model`, known as `name`, is going to embed."""
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: expected {' or '.join(DTYPES)}")
    return Manifest(name, model.digest(), model.precision, model.config.embed, dtype)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the head, whole or not at all; DataError if it cannot be written."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1, ensure_ascii=False)
    write_text(folder / FILE, text + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The head of a collection; DataError where there is none, or one that cannot be understood."""
    path = folder / FILE
    if not path.is_file():
        raise DataError(
            f"{folder}: found no {FILE} in it, expected a folder that `python -m nnclip embed` made"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("format")
        if found != FORMAT:
            raise DataError(f"{path}: found format {found}, expected {FORMAT}: embed it again")
        content["sources"] = tuple(content["sources"])
        return Manifest(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is damaged ({error!r}); embed the pictures again") from error
