"""Images with captions, from sources of any kind.

Axes: N images, M texts.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown, to_name
from nnclip.image import NotRead
from nnclip.sources import Ask, Found, Sample, read_source

logger = logging.getLogger(__name__)

Place: TypeAlias = Path | Sample


@dataclass(frozen=True)
class CaptionedImages:
    """A data set for retrieval.

    Args:
        name: of the data set.
        paths: N images, for `open_stored`: files, or members of one.
        texts: M captions.
        image_of_text: (M,) int64, which image each caption describes.
        languages: M codes; "" where the data set names none.
        missing: files that the data set names but that are not there.
        not_read: what the source holds beside them.
    """

    name: str
    paths: tuple[Place, ...]
    texts: tuple[str, ...]
    image_of_text: np.ndarray
    languages: tuple[str, ...]
    missing: tuple[Path, ...] = ()
    not_read: NotRead = field(default_factory=NotRead)

    def only(self, language: str) -> "CaptionedImages":
        """The captions of one language with their images.

        Raises:
            DataError: there is none; names the languages there are.
        """
        rows = [i for i, code in enumerate(self.languages) if code == language]
        if not rows:
            known = ", ".join(sorted(set(self.languages) - {""})) or "none named"
            raise DataError(f"{self.name}: no caption in language {language!r}; there are: {known}")
        return self._chosen(np.array(rows))

    def without(self, images: Iterable[int]) -> "CaptionedImages":
        """The data set without some images (their indices) and their captions.

        Raises:
            DataError: nothing is left.
        """
        gone = np.isin(self.image_of_text, list(images))
        if gone.all():
            raise DataError(f"{self.name}: no caption is left that has a readable image")
        return self._chosen(np.flatnonzero(~gone))

    def _chosen(self, rows: np.ndarray) -> "CaptionedImages":
        used, index = np.unique(self.image_of_text[rows], return_inverse=True)
        return CaptionedImages(
            self.name,
            tuple(self.paths[i] for i in used),
            tuple(self.texts[i] for i in rows),
            index.astype(np.int64),
            tuple(self.languages[i] for i in rows),
            self.missing,
            self.not_read,
        )


def read_captioned(
    path: Path,
    images: Path | None = None,
    split: str = "test",
    caption_key: str = "title",
    separator: str = "",
) -> CaptionedImages:
    """A data set in any kind of source that has captions: COCO's or Karpathy's .json, tables, ...

    Images that are not there are counted, named in a warning and left out with their captions.

    Args:
        path: the source.
        images: folder of the images; None for the usual one.
        split: of Karpathy's files, and of others that have splits.
        caption_key: of tables; their column `language` is read where there is one.
        separator: of tables of text; "" to tell it by the header.

    Raises:
        DataError: the source is of no known kind, or no image that it names is there.
    """
    found = Found()
    ask = Ask(
        captions=True,
        each=True,
        split=split,
        root=str(images or ""),
        caption_key=caption_key,
        separator=separator,
    )
    pairs: list[tuple[Place, str]] = []
    languages: list[str] = []
    for it in read_source(path, ask, found):
        place = (
            Path(it.path)
            if it.size < 0
            else Sample(it.path, it.offset, it.size, it.member, it.form)
        )
        pairs += [(place, caption.strip()) for caption in it.captions]
        languages += [it.language] * len(it.captions)
    if found.not_read:
        logger.warning("%s: %s", shown(path), found.not_read.told)
    return _present(path, pairs, languages, found.not_read)


def _present(
    path: Path, pairs: list[tuple[Place, str]], languages: list[str], not_read: NotRead
) -> CaptionedImages:
    index: dict[Place, int] = {}
    exists = {place: os.path.isfile(_file(place)) for place in dict.fromkeys(p for p, _ in pairs)}
    missing = tuple(Path(_file(place)) for place, there in exists.items() if not there)
    kept = [i for i, (image, text) in enumerate(pairs) if exists[image] and text]
    if missing:
        logger.warning(
            "%s: %d of %d images are missing, the first is %s; left out with their captions",
            shown(path), len(missing), len(exists), shown(missing[0]),
        )  # fmt: skip
    if not kept:
        raise DataError(
            f"{shown(path)}: none of its {len(exists)} images is there, the first would be "
            f"{shown(missing[0]) if missing else '?'}; name their folder (--images)"
        )
    of_text = [index.setdefault(pairs[i][0], len(index)) for i in kept]
    return CaptionedImages(
        to_name(path.stem),
        tuple(index),
        tuple(pairs[i][1] for i in kept),
        np.array(of_text, np.int64),
        tuple(languages[i] for i in kept),
        missing,
        not_read,
    )


def _file(place: Place) -> str:
    return place.path if isinstance(place, Sample) else str(place)
