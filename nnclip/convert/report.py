"""What a conversion tells: the names of what it dropped."""

from collections import Counter
from collections.abc import Sequence

SHOWN = 3  # names with the same last word that are shown in full


def shortened(names: Sequence[str]) -> str:
    """The names, those with the same last word counted where there are many."""
    counts = Counter(name.rpartition(".")[2] for name in names)
    words = ((name, name.rpartition(".")[2]) for name in names)
    shown = (f"{counts[w]} x {w}" if counts[w] > SHOWN else name for name, w in words)
    return ", ".join(dict.fromkeys(shown))
