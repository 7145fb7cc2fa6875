"""What a source holds that cannot be understood: counted, with its first place; or refused."""

from collections import Counter
from pathlib import Path, PurePath

from nnclip.errors import DataError
from nnclip.files import shown


class Bad(Counter[str]):
    """Kind -> how many; a kind begins with its noun, as in "row with a zero byte".

    Attributes:
        strict: whether the first one is an error.
        first: kind -> where the first one is.
    """

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict
        self.first: dict[str, str] = {}

    def note(self, kind: str, path: str | Path, place: str, hint: str = "") -> None:
        """Count one in a file; DataError if `strict`."""
        if self.strict:
            raise DataError(f"{shown(path)}: {shown(place)}: found a {kind}{hint}")
        self[kind] += 1
        self.first.setdefault(kind, f"{PurePath(path).name}, {place}")

    def check(self, source: str | Path, most: int, good: int | None = None) -> None:
        """Refuse too many.

        Args:
            source: that holds them.
            most: how many are allowed.
            good: how many could be understood; fewer than the others are too few.

        Raises:
            DataError: there are more than `most`, or than `good`.
        """
        count = sum(self.values())
        if count > most:
            raise DataError(f"{shown(source)}: found {self}, more than --max-bad {most}")
        if good is not None and count > good:
            raise DataError(
                f"{shown(source)}: found {self}: {count:,} of {count + good:,}; is it written as "
                "expected?"
            )

    def add(self, other: "Bad") -> None:
        """Count what another reader found, too."""
        self.update(other)
        self.first = other.first | self.first

    def __str__(self) -> str:
        """`2 rows with a zero byte (the first: t.csv, row 7)`; "" if there is none."""
        return ", ".join(
            f"{_counted(count, kind)} (the first: {shown(self.first[kind])})"
            for kind, count in self.most_common()
        )


def _counted(count: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    return f"{count:,} {noun}{'' if count == 1 else 's'} {rest}"
