"""Where a model lies that is named by a path, by a published name or not at all."""

from pathlib import Path

from nnclip.assets import asset
from nnclip.errors import CheckpointError
from nnclip.weights.catalogue import CATALOGUE, HUB, is_published
from nnclip.weights.download import fetch
from nnclip.weights.known import BUNDLED, BUNDLED_NAME


def find_model(source: str | Path | None) -> Path:
    """The .h5 file or the exported folder that `source` means."""
    if source in (None, BUNDLED_NAME):
        return asset(BUNDLED)
    assert source is not None
    if Path(source).exists():
        return Path(source)
    if is_published(str(source)):
        return fetch(str(source))
    raise CheckpointError(
        f"{source}: found no such file, expected an .h5, an exported folder, one of "
        f"{', '.join(CATALOGUE)}, open_clip's MODEL:TAG (`nnclip models` lists them) or "
        f"{HUB}OWNER/NAME"
    )
