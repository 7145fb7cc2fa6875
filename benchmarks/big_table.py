"""Memory that a model with a large table of tokens takes, stored in half precision.

    python benchmarks/big_table.py                  # XLM-V's table: 901,629 x 1024, 1.85 GB
    python benchmarks/big_table.py --rows 200000

The model is drawn: the table is the real one's size, the towers have few blocks. Each step is one
process's largest anonymous and file-backed memory; pages of a file can be dropped at any time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from resident import memory

from nnclip.clip import CLIP
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig, metadata_of
from nnclip.graph.parameters import expected_shapes
from nnclip.image import Preprocess
from nnclip.text.tokenizer import openai_tokenizer
from nnclip.weights.h5 import write_h5

MIB = 1 << 20


def config_of(rows: int, width: int, layers: int) -> ClipConfig:
    """A small image tower, and a text tower of `layers` blocks behind a table of so many rows."""
    image = VitConfig(Preprocess(32), 16, BlockConfig(64, 1, 1, 128))
    blocks = BlockConfig(width, layers, width // 64, 4 * width)
    text = TextConfig(rows, 77, blocks, pool="eos", eos=2, tokens="json", pad=1, clean="none")
    return ClipConfig(64, image, text)


class Drawn(Mapping):
    """Name -> random numbers of that shape, drawn when asked for."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __getitem__(self, name: str) -> np.ndarray:
        rng = np.random.default_rng(len(name))
        return 0.02 * rng.standard_normal(self._shapes[name], np.float32)

    def __iter__(self):
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def measured(path: str, precision: str) -> None:
    """Print one JSON line of what loading and a first answer take, in this process."""
    ids = np.full((1, 77), 1, np.int32)
    ids[0, :6] = 0, 11, 400, 1234, 2, 1
    steps = {"imported": memory()}
    model = CLIP(path, precision=precision)
    steps["loaded"] = memory()
    model.encode_text(ids)
    steps["answered"] = memory()
    print(json.dumps(steps))


def main() -> None:
    """Draw the file, then measure in a process of its own."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rows", type=int, default=901_629)
    p.add_argument("--width", type=int, default=1024)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--precision", default="fp32")
    p.add_argument("--whole", action="store_true", help="store float32")
    p.add_argument("--measure", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.measure:
        measured(args.measure, args.precision)
        return
    config = config_of(args.rows, args.width, args.layers)
    metadata = {**metadata_of(config), "tokenizer": openai_tokenizer().to_json()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.h5"
        write_h5(path, Drawn(expected_shapes(config)), metadata, half=not args.whole)
        size = path.stat().st_size // MIB
        words = [__file__, "--measure", str(path), "--precision", args.precision]
        out = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    steps = json.loads(out.stdout.splitlines()[-1])
    print(f"{'file':<10} {size:>6} MiB")
    for step, found in steps.items():
        print(
            f"{step:<10} "
            + "  ".join(f"{name} {size // MIB:>5} MiB" for name, size in found.items())
        )
    print(json.dumps({"file_mib": size, "rows": args.rows, **steps}))


if __name__ == "__main__":
    main()
