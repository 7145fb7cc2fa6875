"""What an embedded collection says about itself: by which model, from what, how it is kept."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.graph.losses import Scorer
from nnclip.image import OPENAI, USUAL_DECODING, Decoding, Preprocess
from nnclip.search.sealed import read_sealed, write_sealed
from nnclip.search.writing import first_line

FORMAT = 3  # 1: no checksums; 2: absolute names, no facts about the images
FILE = "manifest.json"
DTYPES = ("float16", "float32")


class Model(Protocol):
    """What search asks of a model; `nnclip.clip.CLIP` is one."""

    config: Any
    path: Path

    @property
    def scorer(self) -> Scorer: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    def digest(self) -> str: ...  # noqa: D102
    def tokenize(self, texts: list[str], *, truncate: bool = False) -> np.ndarray: ...  # noqa: D102
    def preprocess_image(self, source: Any, decoding: Decoding) -> np.ndarray: ...  # noqa: D102
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
        sources: folders, tables, tar files and images, absolute.
        column: of the tables, the one that holds paths.
        items: number of images that were listed.
        shard: images of one shard.
        preprocess: how that model prepares images, see `prepared_by`; "" in collections that were
            made when all images were resized and cropped as OpenAI does.
        not_read: suffix -> files of the sources that were passed over when they were listed.
        plan: checksum of the list of what is to be embedded; "" in collections of format 1.
        roots: the folders that names begin in, see `nnclip.search.roots`, as they were at first.
        place: the folder that the collection was made in; "" where that is not known.
        exclude: patterns of what the sources leave out, see `nnclip.image.skips`; None in
            collections that were made when nothing was.
        format: 1 and 2 are those of earlier versions.
        exact_pixels: whether every pixel of large images was decoded; None in collections that were
            made when all were.
        as_seen: whether images were turned as EXIF says; None in collections that were made when
            none were.
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
    preprocess: str = ""
    plan: str = ""
    not_read: dict[str, int] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    place: str = ""
    exclude: tuple[str, ...] | None = None
    format: int = FORMAT
    exact_pixels: bool | None = None
    as_seen: bool | None = None

    @property
    def decoding(self) -> Decoding:
        """How image files are read for this collection, also those that are added to it."""
        if self.exact_pixels is None or self.as_seen is None:
            return OPENAI
        return Decoding(self.exact_pixels, self.as_seen)

    def settled(self) -> "Manifest":
        """The head of a new collection, with defaults for what it does not say."""
        usual, exact, as_seen = USUAL_DECODING, self.exact_pixels, self.as_seen
        return replace(
            self,
            exact_pixels=usual.exact if exact is None else exact,
            as_seen=usual.as_seen if as_seen is None else as_seen,
        )

    def read_as(self, asked: "Manifest") -> bool:
        """Whether images are read as another head asks for, where it says anything."""
        own = self.decoding
        return asked.exact_pixels in (None, own.exact) and asked.as_seen in (None, own.as_seen)

    @property
    def old_decoding(self) -> str:
        """What to say of a collection whose images are read as earlier versions did; else ""."""
        if self.exact_pixels is not None:
            return ""
        return f"{OPENAI}, as the version did that made it; a new collection: {USUAL_DECODING}"

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
                "it with -m, or embed the images again"
            )
        told = prepared_by(model.config.image.preprocess)
        if not self.prepared_as(told):
            raise ConfigError(
                f"model {model.path} has the collection's parameters, but prepares images in "
                f"another way: found {told}, expected "
                f"{self.preprocess or 'the pipeline of OpenAI'}; embed the images again"
            )

    def prepared_as(self, told: str) -> bool:
        """Whether the collection's images were prepared so, by the words of `prepared_by`."""
        if self.preprocess or not told:
            return self.preprocess == told
        return bool(json.loads(told).keys() == Preprocess().metadata().keys())


def prepared_by(preprocess: Preprocess) -> str:
    """What a manifest says of it: its metadata as JSON."""
    return json.dumps(preprocess.metadata(), sort_keys=True)


def manifest_of(
    model: Model,
    name: str,
    dtype: str,
    exact_pixels: bool | None = None,
    as_seen: bool | None = None,
) -> Manifest:
    """The head of a collection that `model` is going to embed.

    Args:
        model: what embeds.
        name: what it is known as.
        dtype: how embeddings are kept.
        exact_pixels: see `Decoding`; None for what the collection has, or else for the usual.
        as_seen: see `Decoding`; None as above.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: expected {' or '.join(DTYPES)}")
    precision, embed = model.precision, model.config.embed
    told = prepared_by(model.config.image.preprocess)
    return Manifest(
        name,
        model.digest(),
        precision,
        embed,
        dtype,
        preprocess=told,
        exact_pixels=exact_pixels,
        as_seen=as_seen,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the head, whole or not at all; DataError if it cannot be written."""
    write_sealed(folder / FILE, asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The head of a collection; DataError where there is none, or one that is damaged."""
    path = folder / FILE
    remedy = f"`nnclip repair {folder}` makes it again"
    try:
        return manifest_from(read_sealed(path, remedy, "format"))
    except FileNotFoundError:
        there = (folder / "shards").exists()
        raise DataError(
            f"{folder}: found no {FILE} in it, expected a folder that `nnclip embed` made"
            + (f"; {remedy}" if there else "")
        ) from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {error}; {remedy}") from error


def manifest_from(content: dict[str, Any]) -> Manifest:
    """The head that a JSON object holds; ValueError where it cannot be one."""
    if content.get("format") not in range(1, FORMAT + 1):
        raise ValueError(f"found a format {content.get('format')!r:.50}, expected 1 to {FORMAT}")
    try:
        lists = {"sources": tuple(content["sources"]), "exclude": _patterns(content)}
        found = Manifest(**{**content, **lists})
    except (TypeError, KeyError) as error:
        raise ValueError(f"found {first_line(error)}, expected a manifest") from error
    kinds = {name: kind for name, kind in get_type_hints(Manifest).items() if kind in (str, int)}
    wrong = [name for name, kind in kinds.items() if type(getattr(found, name)) is not kind]
    wrong += [name for name in ("not_read", "roots") if type(getattr(found, name)) is not dict]
    told = {"exact_pixels": found.exact_pixels, "as_seen": found.as_seen}
    wrong += [name for name, value in told.items() if value not in (None, True, False)]
    if wrong or not all(isinstance(source, str) for source in found.sources):
        raise ValueError(f"found another type of {', '.join(wrong or ['sources'])} than expected")
    if found.dtype not in DTYPES or found.embed < 1 or found.items < 0 or found.shard < 1:
        raise ValueError("found a dtype, embed, items or shard that cannot be")
    return found


def _patterns(content: dict[str, Any]) -> tuple[str, ...] | None:
    exclude = content.get("exclude")
    return None if exclude is None else tuple(map(str, exclude))
