"""What happened to a collection, in counts that add up."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Changes:
    """What happened.

    Attributes:
        added: images that were not there.
        moved: images that were there under another name; they keep their embeddings.
        copied: of those added, copies of others, whose embeddings they get.
        changed: images that were embedded again.
        removed: images that went.
        unchanged: images that were looked at and left as they are.
        failed: name and reason of each image that cannot be read.
        kept: images that are gone and were kept, because so many are.
        not_read: suffix -> files of the sources that were passed over, see `NotRead`.
    """

    added: int = 0
    moved: int = 0
    copied: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    kept: int = 0
    not_read: dict[str, int] = field(default_factory=dict)


def total(parts: Iterable[Changes]) -> Changes:
    """What happened in several parts."""
    parts = list(parts)
    counts = ("added", "moved", "copied", "changed", "removed", "unchanged", "kept")
    counted = {name: sum(getattr(part, name) for part in parts) for name in counts}
    not_read = Counter[str]()
    for part in parts:
        not_read.update(part.not_read)
    failed = tuple(it for part in parts for it in part.failed)
    return Changes(**counted, failed=failed, not_read=dict(not_read))
