"""Files that visitors name: the one door through which every one of them goes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.service.images import ImageFile, check_size
from nnclip.service.values import kind

REFUSED = "found a file that was not uploaded here, expected an uploaded image"


class Uploads:
    """The folders whose files a visitor may name."""

    def __init__(self, folders: Sequence[str | Path]) -> None:
        """Open these folders, and what is below them.

        Args:
            folders: where uploads are kept, and other files that anybody may see.
        """
        self._folders = tuple(Path(os.path.realpath(folder)) for folder in folders)

    def find(self, path: Any) -> ImageFile:
        """The file behind a path that a visitor sent.

        Links are resolved first, and what is opened later is the place that they led to.

        Raises:
            DataError: no text, a place outside the folders, no file there, no regular one, an
                empty or a too large one. The sentence does not say where.
        """
        if not isinstance(path, str):
            raise DataError(f"path: found {kind(path)}, expected a text")
        try:
            place = Path(os.path.realpath(path))
        except (OSError, ValueError, UnicodeError) as error:  # a zero byte, a lone surrogate
            raise DataError(REFUSED) from error
        if not any(place.is_relative_to(folder) for folder in self._folders):
            raise DataError(REFUSED)
        found = ImageFile.find(place)
        check_size(found.size)
        return found
