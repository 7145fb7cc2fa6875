"""Results as CLIP_benchmark writes them (JSON) and as people read them (a table)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnclip.errors import DataError

Record = dict[str, Any]
SHARES = ("acc", "recall", "error", "drop", "fooled", "gap")  # metrics that are shares of one


def make_record(
    dataset: str,
    model: str,
    pretrained: str,
    task: str,
    metrics: Mapping[str, float],
    language: str = "en",
    **about: Any,
) -> Record:
    """The six entries of CLIP_benchmark's JSON, then `about`.

    Raises:
        DataError: a metric is not a finite number; it must not pass for a result.
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise DataError(f"{task} on {dataset}: {', '.join(bad)} came out as no finite number")
    return {
        "dataset": dataset,
        "model": model,
        "pretrained": pretrained,
        "task": task,
        "metrics": dict(metrics),
        "language": language,
        **about,
    }


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, the first to the left and the others to the right, a line below
    the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_value(name: str, value: float | None) -> str:
    """Shares as per cent, ranks as they are, what has no meaning as a dash."""
    if value is None:
        return "-"
    if any(word in name for word in SHARES):
        return f"{100 * value:.2f} %"
    return f"{value:,.1f}"


def metrics_table(records: Sequence[Record]) -> str:
    """One row a metric, one column a record (its language where there are several)."""
    names = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    several = len(records) > 1
    heads = [record["language"] if several else record["dataset"] for record in records]
    rows = [
        [name, *(format_value(name, r["metrics"].get(name)) for r in records)] for name in names
    ]
    if several:  # languages read better downwards
        columns = ["language", *(name.replace("_retrieval_", " ") for name in names)]
        return format_table([columns, *([head, *cells] for head, *cells in _turned(heads, rows))])
    return format_table([[records[0]["task"], *heads], *rows])


def _turned(heads: list[str], rows: list[list[str]]) -> list[list[str]]:
    return [[head, *(row[i] for row in rows)] for i, head in enumerate(heads, 1)]


def per_class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `Classification.per_class`."""
    lines = [["class", "images", "recall", "precision", "mostly mistaken for"]]
    for row in rows:
        shares = [format_value("recall", row[name]) for name in ("recall", "precision")]
        lines.append([row["class"], str(row["images"]), *shares, row["mistaken_for"] or ""])
    return format_table(lines)
