"""What a conversion tells: the names of what it dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence

SHOWN = 3  # names with the same last word that are shown in full


def shortened(names: Sequence[str], left_out: Mapping[str, str] | None = None) -> str:
    """The names, those with the same last word counted where there are many.

    Args:
        names: of the tensors.
        left_out: beginning of names -> what they are together, told in their place.
    """
    told = []
    for start, what in (left_out or {}).items():
        rest = [name for name in names if not name.startswith(start)]
        if len(rest) < len(names):
            told.append(f"{what} ({len(names) - len(rest)} tensors, {start}*)")
        names = rest
    counts = Counter(name.rpartition(".")[2] for name in names)
    words = ((name, name.rpartition(".")[2]) for name in names)
    shown = (f"{counts[w]} x {w}" if counts[w] > SHOWN else name for name, w in words)
    return ", ".join([*told, *dict.fromkeys(shown)])
