"""What open_clip publishes: its names, where on the Hugging Face hub they lie, and their facts.

`open_clip.tsv` holds the table; a test compares it with the open_clip that is installed.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnclip.errors import ConfigError

TABLE = Path(__file__).with_name("open_clip.tsv")
QUICK = "-quickgelu"  # ends open_clip's second name of a model; the hub's settings tell that anyway
UNKNOWN = "?"


@dataclass(frozen=True)
class Published:
    """One set of weights.

    Attributes:
        model: open_clip's name of the architecture.
        tag: open_clip's name of the weights.
        repository: OWNER/NAME on the hub.
        parameters: in millions.
        resolution: pixels along a side.
        context: tokens of the longest text.
        languages: "en", or "~100": about how many.
        licence: of the weights, as their page on the hub says; None if none is known.
        settings: the open_clip_config.json of a repository that may lack it, as JSON.
    """

    model: str
    tag: str
    repository: str
    parameters: float
    resolution: int
    context: int
    languages: str
    licence: str | None
    settings: str | None = None

    @property
    def name(self) -> str:
        """MODEL:TAG, as `clip.load` takes it."""
        return f"{self.model}:{self.tag}"


@functools.cache
def open_clip_table() -> Mapping[str, tuple[Published, ...]]:
    """Model -> its published weights, in open_clip's order."""
    found: dict[str, tuple[Published, ...]] = {}
    model: list[str] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if cells[0]:
            model = cells
            continue
        name, millions, pixels, tokens, languages, *settings = model
        _, tag, repository, licence = cells
        one = Published(
            name, tag, repository, float(millions), int(pixels), int(tokens), languages,
            None if licence == UNKNOWN else licence, settings[0] if settings else None,
        )  # fmt: skip
        found[name] = (*found.get(name, ()), one)
    return found


def is_open_clip(name: str) -> bool:
    """Whether `name` begins with one of open_clip's models."""
    return _model(name) in open_clip_table()


def open_clip_weights(name: str) -> Published:
    """The weights of open_clip's name: MODEL:TAG, or MODEL alone where it has one tag.

    Raises:
        ConfigError: no such model or tag, or several tags and none named.
    """
    model, tag = _model(name), name.partition(":")[2]
    rows = open_clip_table().get(model, ())
    chosen = [row for row in rows if tag in ("", row.tag)]
    if len(chosen) == 1:
        return chosen[0]
    if not rows:
        raise ConfigError(f"found no model {model!r} of open_clip; `nnclip models` lists them")
    tags = ", ".join(row.tag for row in rows)
    found = f"no tag {tag!r}" if tag else "no tag"
    raise ConfigError(f"{name}: found {found}, expected {model}:TAG with one of {tags}")


def shared_resolution(one: Published) -> int | None:
    """The pixels of the name where its repository serves names of several; else None."""
    rows = (row for rows in open_clip_table().values() for row in rows)
    pixels = {row.resolution for row in rows if row.repository == one.repository}
    return one.resolution if len(pixels) > 1 else None


def _model(name: str) -> str:
    """open_clip writes "ViT-B-32" for what OpenAI calls "ViT-B/32"."""
    return name.partition(":")[0].replace("/", "-").removesuffix(QUICK)
