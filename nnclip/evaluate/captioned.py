"""Pictures with captions: COCO's and Flickr30k's JSON, tables.

Axes: N pictures, M texts.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.errors import DataError
from nnclip.image import picture_root, read_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionedPictures:
    """A data set for retrieval.

    Args:
        name: of the data set.
        paths: N picture files.
        texts: M captions.
        picture_of_text: (M,) int64, which picture each caption describes.
        languages: M codes; "" where the data set names none.
        missing: files that the data set names but that are not there.
    """

    name: str
    paths: tuple[Path, ...]
    texts: tuple[str, ...]
    picture_of_text: np.ndarray
    languages: tuple[str, ...]
    missing: tuple[Path, ...] = ()

    def only(self, language: str) -> "CaptionedPictures":
        """The captions of one language with their pictures.

        Raises:
            DataError: there is none; names the languages there are.
        """
        rows = [i for i, code in enumerate(self.languages) if code == language]
        if not rows:
            known = ", ".join(sorted(set(self.languages) - {""})) or "none named"
            raise DataError(f"{self.name}: no caption in language {language!r}; there are: {known}")
        return self._chosen(np.array(rows))

    def without(self, pictures: Iterable[int]) -> "CaptionedPictures":
        """The data set without some pictures (their indices) and their captions.

        Raises:
            DataError: nothing is left.
        """
        gone = np.isin(self.picture_of_text, list(pictures))
        if gone.all():
            raise DataError(f"{self.name}: no caption is left that has a readable picture")
        return self._chosen(np.flatnonzero(~gone))

    def _chosen(self, rows: np.ndarray) -> "CaptionedPictures":
        used, index = np.unique(self.picture_of_text[rows], return_inverse=True)
        return CaptionedPictures(
            self.name,
            tuple(self.paths[i] for i in used),
            tuple(self.texts[i] for i in rows),
            index.astype(np.int64),
            tuple(self.languages[i] for i in rows),
            self.missing,
        )


def read_captioned(
    path: Path, images: Path | None = None, split: str = "test", caption_key: str = "title"
) -> CaptionedPictures:
    """A data set, told by the name and the content of its file.

    - `.json` with `images` and `annotations`: COCO's captions
    - `.json` with `images` that have `sentences` and a `split`: Flickr30k and COCO as split by
      Karpathy; takes the pictures of `split`
    - anything else: a table with the columns `filepath`, `caption_key` and, if you like, `language`

    Pictures that are not there are counted, named in a warning and left out with their captions.

    Args:
        path: the file.
        images: folder of the pictures; None for the file's own (for COCO, also below it).
        split: of Karpathy's files.
        caption_key: of tables.

    Raises:
        DataError: the file is not of these kinds, or no picture that it names is there.
    """
    if path.suffix.lower() == ".json":
        pairs = _json_pairs(path, images or path.parent, split)
        languages = [""] * len(pairs)
    else:
        rows = read_rows(path, ("filepath", caption_key))
        root = images or picture_root(path, rows[0]["filepath"])
        pairs = [(root / row["filepath"], row[caption_key].strip()) for row in rows]
        languages = [row.get("language") or "" for row in rows]
    return _present(path, pairs, languages)


def _present(path: Path, pairs: list[tuple[Path, str]], languages: list[str]) -> CaptionedPictures:
    index: dict[Path, int] = {}
    exists = {picture: picture.is_file() for picture in dict.fromkeys(p for p, _ in pairs)}
    missing = tuple(picture for picture, there in exists.items() if not there)
    kept = [i for i, (picture, text) in enumerate(pairs) if exists[picture] and text]
    if missing:
        logger.warning(
            "%s: %d of %d pictures are missing, the first is %s; left out with their captions",
            path, len(missing), len(exists), missing[0],
        )  # fmt: skip
    if not kept:
        raise DataError(
            f"{path}: none of its {len(exists)} pictures is there, the first would be "
            f"{missing[0] if missing else '?'}; name their folder (--images)"
        )
    of_text = [index.setdefault(pairs[i][0], len(index)) for i in kept]
    return CaptionedPictures(
        path.stem,
        tuple(index),
        tuple(pairs[i][1] for i in kept),
        np.array(of_text, np.int64),
        tuple(languages[i] for i in kept),
        missing,
    )


def _json_pairs(path: Path, images: Path, split: str) -> list[tuple[Path, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    try:
        if "annotations" in content:
            files = {image["id"]: images / image["file_name"] for image in content["images"]}
            unknown = {a["image_id"] for a in content["annotations"]} - set(files)
            if unknown:
                raise DataError(
                    f"{path}: annotations of {len(unknown)} pictures that are not in `images`, "
                    f"the first has the id {min(unknown)}"
                )
            return [(files[a["image_id"]], a["caption"].strip()) for a in content["annotations"]]
        chosen = [image for image in content["images"] if image["split"] == split]
        if not chosen:
            splits = ", ".join(sorted({image["split"] for image in content["images"]}))
            raise DataError(f"{path}: no picture of split {split!r}; there are: {splits}")
        return [
            (images / image.get("filepath", "") / image["filename"], sentence["raw"].strip())
            for image in chosen
            for sentence in image["sentences"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: neither COCO's captions (images, annotations) nor Karpathy's split (images "
            f"with sentences): {error!r} is not there"
        ) from error
