"""Scores of pairs as a table: parquet, separated text, JSON lines.

| column | what it is |
|---|---|
| `filepath` | the image's file, or the file that holds it |
| `title` | the caption |
| `cosine` | of the two embeddings; empty where the image cannot be read |
| `clip_score` | 2.5 * max(cosine, 0): Hessel et al., CLIPScore (2021), equation 1 |
| `probability` | that the two belong together, where the model's loss says it of a pair alone |
| `text_only` | whether the image shows writing alone, roughly |
| `near` | the first image that this one is a near-duplicate of; else empty |
| `error` | why the image cannot be read; else empty |
| `offset`, `size`, `form` | where the image lies in its file, see `nnclip.sources.Stored` |

Axes: P pairs.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra
from nnclip.files import shown, to_name, to_path
from nnclip.search.writing import write_file
from nnclip.sources.bad import Bad
from nnclip.sources.table import open_table
from nnclip.training.data.pairs import Pair

WEIGHT = 2.5  # of CLIPScore
NO_PROBABILITY = (
    "--by probability: found a model of the softmax loss, which judges a text among others only; "
    "expected one of the sigmoid loss (SigLIP), or --by cosine"
)
MEASURES = ("cosine", "clip_score", "probability")
COLUMNS = ("filepath", "title", *MEASURES, "text_only", "near", "error", "offset", "size", "form")


@dataclass
class Scores:
    """Scored pairs.

    Attributes:
        cosines: (P,) float32; NaN where the image cannot be read.
        pairs: each with one caption.
        near: for each, the first image that its own is a near-duplicate of; "" for none.
        text_only: whether the image shows writing alone.
        errors: why the image cannot be read; "" if it can.
        cut: captions of which the model reads the beginning only.
        probabilities: (P,) that the two belong together; None where the loss does not say.
    """

    cosines: np.ndarray
    pairs: list[Pair] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    text_only: list[bool] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cut: int = 0
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.cosines)

    def measure(self, name: str) -> np.ndarray:
        """(P,) float32 of one of MEASURES; ConfigError where the model does not give it."""
        if name == "cosine":
            return self.cosines
        if name == "clip_score":
            return WEIGHT * np.maximum(self.cosines, 0)
        if self.probabilities is None:
            raise ConfigError(NO_PROBABILITY)
        return self.probabilities

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the table, without columns that say nothing."""
        measures = {
            name: self.measure(name)
            for name in MEASURES
            if name != "probability" or self.probabilities is not None
        }
        for number, pair in enumerate(self.pairs):
            said = {name: _number(values[number]) for name, values in measures.items()}
            yield {
                "filepath": to_name(pair.path),
                "title": pair.captions[0],
                **said,
                "text_only": self.text_only[number],
                "near": self.near[number],
                "error": self.errors[number],
                "offset": pair.offset,
                "size": pair.size,
                "form": pair.form,
            }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table in the form of its suffix, a key of WRITERS; DataError if it cannot be."""
    write = WRITERS[path.suffix.lower()]
    write_file(path, lambda temporary: write(Path(temporary), rows))


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    with extra():
        import pyarrow as pa
        import pyarrow.parquet as pq
    inside = any(isinstance(row.get("image"), bytes) for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100 if inside else 1 << 16)


def _separated(separator: str) -> Callable[[Path, list[dict[str, Any]]], None]:
    def write(path: Path, rows: list[dict[str, Any]]) -> None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: int(v) if v is True or v is False else v for k, v in row.items()}
                             for row in rows)  # fmt: skip

    return write


def _json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


WRITERS: Mapping[str, Callable[[Path, list[dict[str, Any]]], None]] = MappingProxyType(
    {
        ".parquet": _parquet,
        ".csv": _separated(","),
        ".tsv": _separated("\t"),
        ".jsonl": _json_lines,
    }
)


def read_scores(path: Path) -> Scores | None:
    """The scores in a table that `nnclip score` wrote; None for a source of another kind.

    Raises:
        DataError: the table is damaged.
    """
    if path.suffix.lower() not in WRITERS or not path.is_file():
        return None
    table = open_table(path, wanted=COLUMNS)
    if not {"filepath", "title", "cosine", "offset", "form"} <= {*table.columns}:
        return None
    wanted = [name for name in COLUMNS if name in table.columns]
    found, cosines, probabilities = Scores(np.empty(0)), list[float](), list[float]()
    try:
        for _, row in table.rows(Bad(strict=True), wanted):
            cosines.append(_value(row["cosine"]))
            probabilities.append(_value(row.get("probability")))
            place = int(row["offset"]), int(row["size"]), row["form"] or ""
            found.pairs.append(Pair(to_path(row["filepath"]), (row["title"],), *place))
            found.near.append(row["near"] or "")
            found.text_only.append(str(row["text_only"]) in ("1", "True"))
            found.errors.append(row["error"] or "")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(path)}: found a row that cannot be understood ({error}), expected a table "
            "as nnclip score writes it"
        ) from error
    found.cosines = np.array(cosines, np.float32)
    if "probability" in table.columns:
        found.probabilities = np.array(probabilities, np.float32)
    return found


def _value(cell: Any) -> float:
    return float("nan") if cell in (None, "") else float(cell)
