"""What a reader gives, what it may be asked for, and what it found out beside that."""

from dataclasses import dataclass, field
from typing import Protocol

from nnclip.files import to_name
from nnclip.image.listing import NotRead
from nnclip.sources.bad import Bad

TRAINING, VALIDATION = "training", "validation"


class Stored(Protocol):
    """Where an image lies.

    Attributes:
        path: the file to open, as the system names it.
        offset: where the image starts in that file.
        size: its length there in bytes; -1 for a file of its own. What `form` names may count
            both in its own way.
        form: the reader that turns these bytes into an image file; "" where they are one.
        name: what messages call it.
    """

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def form(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Sample:
    """An image of a source, and what the source says about it.

    Attributes:
        path, offset, size, form: see `Stored`.
        member: its name within the file, where it is not a file of its own.
        captions: what is said about it.
        label: its class, as the source writes it; None where it says none.
        language: code of the captions' language; "" where the source names none.
    """

    path: str
    offset: int = 0
    size: int = -1
    member: str = ""
    form: str = ""
    captions: tuple[str, ...] = ()
    label: str | None = None
    language: str = ""

    @property
    def name(self) -> str:
        """The name of the file, a slash and the name of the member; see `nnclip.files`."""
        return to_name(f"{self.path}/{self.member}" if self.member else self.path)


@dataclass(frozen=True)
class Ask:
    """What a reader is asked for.

    Attributes:
        captions: whether what is said about the images is wanted.
        each: whether each caption is wanted as a sample of its own.
        labels: whether classes are wanted.
        strict: whether a row that lacks something is an error; else it is counted or left empty.
        split: part of the data set, where the source has several; TRAINING is all that is for it,
            VALIDATION what is held out while training, "" is everything.
        root: folder that relative paths begin in; "" for the usual one.
        image_key: column of paths.
        caption_key: column of captions.
        label_key: column of labels.
        exclude: patterns of files and folders that a folder leaves out, see `nnclip.image.skips`;
            None: it leaves out nothing.
        separator: of a table of separated text; "" to tell it by the header.
    """

    captions: bool = False
    each: bool = False
    labels: bool = False
    strict: bool = True
    split: str = ""
    root: str = ""
    image_key: str = "filepath"
    caption_key: str = "title"
    label_key: str = "label"
    exclude: tuple[str, ...] | None = None
    separator: str = ""


@dataclass
class Found:
    """What a reader found out; complete once all samples are taken.

    Attributes:
        not_read: what it passed over.
        bad: what it could not understand, and left out.
        told: what it took the source for, in one line.
        classes: names in the order of the labels, where the source has an order.
        name: what the data set calls itself; "" where it does not.
    """

    not_read: NotRead = field(default_factory=NotRead)
    bad: Bad = field(default_factory=Bad)
    told: str = ""
    classes: tuple[str, ...] = ()
    name: str = ""
