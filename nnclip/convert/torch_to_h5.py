"""Converts a checkpoint of OpenAI, open_clip, Hugging Face or torchvision into an .h5 for nnclip.

No code in the checkpoint is ever executed, and torch is needed only for --verify.

    python convert/torch_to_h5.py ViT-B-32.pt ViT-B-32.h5 --verify
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnclip.convert.dialect import Dialect, Source
from nnclip.convert.encoders import open_checkpoint
from nnclip.convert.names import to_foreign, to_published, without
from nnclip.convert.readme import told_by_readme
from nnclip.convert.report import shortened
from nnclip.convert.source import DIALECTS, dialect_of, sha256_of
from nnclip.convert.tensors import Tensor, Values
from nnclip.convert.understood import Understood, understood
from nnclip.convert.verify import compare
from nnclip.errors import CheckpointError, DataError, NnclipError
from nnclip.files import shown
from nnclip.graph.bert import POOLINGS
from nnclip.graph.convolution import is_statistic
from nnclip.graph.layers import ACTIVATIONS
from nnclip.graph.losses import SOFTMAX, scalar_names
from nnclip.json_text import brief
from nnclip.weights.h5 import write_h5
from nnclip.weights.model import check_names_and_shapes

TOLERANCE = {False: 2e-5, True: 5e-3}  # of features relative to their norm; stored as float16?


@dataclass(frozen=True)
class Conversion:
    """What there is to write.

    Attributes:
        source: the checkpoint.
        dialect: its dialect.
        what: the model, or the tower that the dialect knows alone.
        tensors: by published names, in the order of their making, not yet read.
        dropped: the checkpoint's tensors that nnclip has no use for.
    """

    source: Source
    dialect: Dialect
    what: Understood
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]

    def metadata(self) -> dict[str, Any]:
        """What the .h5 says beside its tensors."""
        stored = {name: t.dtype for name, t in self.tensors.items() if t.dtype != "float32"}
        return {
            **self.what.metadata,
            **self.dialect.carried(self.source, self.what.config),
            **told_by_readme(self.source.folder),
            "dialect": self.dialect.name,
            "source": self.source.path.name,
            "sha256": sha256_of(self.source.files),
            "source_dtypes": json.dumps(stored),  # where not float32; h5_to_torch --half reads it
            "dropped": json.dumps(self.dropped),
        }


def plan(source: Source, dialect: Dialect, given: Mapping[str, Any] | None = None) -> Conversion:
    """Rename everything, infer the configuration, and be strict about names and shapes.

    Args:
        source: the opened checkpoint.
        dialect: its dialect.
        given: metadata that comes before what the source says, as `config_from_shapes` takes it.

    Raises:
        CheckpointError: a tensor is missing, left over or of the wrong shape, by the checkpoint's
            own names; or it is not told what shapes do not tell.
    """
    kept = without(source.tensors, dialect.dropped)
    with _settings(dialect, source):
        tensors = without(dialect.folded(source), dialect.dropped)
    with _settings(dialect, source):
        table = dialect.names.reading(source)
    for name in scalar_names() & tensors.keys():
        if tensors[name].shape == (1,) and not (name in table and table[name].ones):
            tensors[name] = _flat(tensors[name])  # an option of open_clip
    with _settings(dialect, source):
        metadata = {**dialect.describe(source), **(given or {})}
    published = to_published(tensors, table)
    if dialect.side is None:
        _check_towers(source, dialect, published)
    _check_told(dialect, metadata)
    what = understood(dialect.side, {k: t.shape for k, t in published.items()}, metadata)
    expected = to_foreign({k: _shape_only(v) for k, v in what.shapes.items()}, table)
    check_names_and_shapes(
        {k: t.shape for k, t in tensors.items()}, {k: t.shape for k, t in expected.items()}
    )
    for name, tensor in tensors.items():
        if "float" not in tensor.dtype:
            raise CheckpointError(
                f"tensor {name}: found values of type {tensor.dtype}, expected floats"
            )
    dropped = tuple(name for name in source.tensors if name not in kept)
    return Conversion(source, dialect, what, {k: published[k] for k in what.shapes}, dropped)


def _flat(tensor: Tensor) -> Tensor:
    return Tensor((), tensor.dtype, lambda: tensor.read().reshape(()))


@contextmanager
def _settings(dialect: Dialect, source: Source) -> Iterator[None]:
    """Settings beside a checkpoint may hold values of any kind; what fails at one says so."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        if isinstance(error, NnclipError):
            raise
        raise CheckpointError(
            f"{', '.join(source.settings)}: found a value of a kind that is not known there "
            f"({error}), expected the settings of {dialect.name}"
        ) from error


def _check_towers(source: Source, dialect: Dialect, published: Mapping[str, Tensor]) -> None:
    """CheckpointError unless the tensors around the blocks, that tell the sizes, are there."""
    needed, words = dialect.names.needed(source)
    optional = scalar_names() - SOFTMAX.scalars.keys()
    for name, rule in needed.items():
        if name.format(0) not in published and name not in optional:
            parts = " or ".join(part.format(0) for part in rule.parts)
            raise CheckpointError(
                f"tensor {parts}: missing; this is not the whole of a "
                f"CLIP of {dialect.name} with a {words}"
            )


def _shape_only(shape: tuple[int, ...]) -> Tensor:
    def nothing() -> Any:
        raise AssertionError("only its shape is known")

    return Tensor(shape, "float32", nothing)


def _check_told(dialect: Dialect, metadata: Mapping[str, Any]) -> None:
    for key in ("activation", "text_activation"):
        activation = metadata.get(key, "quick_gelu")
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            found = brief(activation).strip("'")
            raise CheckpointError(f"{key}: found {found}, expected one of {', '.join(ACTIVATIONS)}")
    dialect.check_told(metadata)


def convert_file(
    source: Path,
    destination: Path,
    *,
    dialect: str = "auto",
    config: Path | None = None,
    given: Mapping[str, Any] | None = None,
    half: bool = False,
    key: str | None = None,
    prefix: str | None = None,
) -> Conversion:
    """Write the checkpoint `source` as the .h5 `destination`, one tensor in memory at a time.

    Args:
        source: a file, a folder, or the index of several files.
        destination: written whole or not at all.
        dialect: a key of DIALECTS, or "auto".
        config: an open_clip_config.json that does not lie beside the file.
        given: metadata that comes before what the source says.
        half: store float16.
        key: the entry of the file that holds the model.
        prefix: what stands before the model's names in the file.

    Raises:
        CheckpointError: the checkpoint cannot be read, trusted or understood; names the file.
    """
    opened = open_checkpoint(source, config, key, prefix)
    try:
        conversion = plan(opened, dialect_of(opened, dialect), given)
        metadata = conversion.metadata()
        frozen = frozenset(filter(is_statistic, conversion.tensors))
        _check_tokenizer(conversion.what, metadata, source)
        write_h5(destination, Values(conversion.tensors), metadata, half=half, frozen=frozen)
    except CheckpointError as error:
        if str(source) in str(error) or str(destination) in str(error):
            raise
        raise CheckpointError(f"{source}: {error}") from error
    return conversion


def _check_tokenizer(what: Understood, metadata: Mapping[str, Any], source: Path) -> None:
    """CheckpointError if the model that is to be written could not be loaded for its vocabulary."""
    for tower in what.towers:
        if tower.side == "text":
            try:
                tower.tokenizer(metadata, source)
            except DataError as error:
                raise CheckpointError(str(error)) from error


def _report(conversion: Conversion, destination: Path) -> None:
    source = conversion.source
    dtypes = Counter(t.dtype for t in source.tensors.values())
    counts = ", ".join(f"{n} {dtype}" for dtype, n in dtypes.most_common())
    print(f"read      {source.path}: {source.kind} of {conversion.dialect.name}, {counts}")
    for note in source.notes:
        print(note)
    if conversion.dropped:
        print(f"dropped   {shortened(conversion.dropped, conversion.dialect.left_out)}")
    for tower in conversion.what.towers:
        print(f"{tower.side:<9} {tower.describe()}")
        if tower.side == "image":
            print(f"prepared  {tower.preprocess.describe()}")
    size = destination.stat().st_size
    print(f"wrote     {destination}: {len(conversion.tensors)} tensors, {size:,} bytes")


def _verify(conversion: Conversion, destination: Path, half: bool) -> None:
    found = compare(conversion.source, conversion.dialect, destination)
    print("\n".join(found.lines()))
    try:
        found.check(TOLERANCE[half])
    except CheckpointError as error:
        raise CheckpointError(f"{destination}: {error}; do not use this file") from error


def _heads(text: str) -> tuple[int, int]:
    image, _, other = text.partition(",")
    return int(image), int(other or image)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    first, _, second, *_ = (__doc__ or "").splitlines()
    p = argparse.ArgumentParser(
        prog="torch_to_h5.py",
        description=f"{first} {second}",
        epilog="example: python convert/torch_to_h5.py ViT-B-32.pt ViT-B-32.h5 --verify",
    )
    add_arguments(p)
    return p


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    p.add_argument("source", type=Path, help=".pt, .bin, .safetensors, an index.json or a folder")
    p.add_argument("destination", type=Path, help="the .h5 to write")
    p.add_argument(
        "--dialect",
        default="auto",
        choices=("auto", *DIALECTS),
        help="whose code wrote it; auto looks at the names and at the files beside",
    )
    p.add_argument("--config", type=Path, help="open_clip_config.json, if not beside the source")
    p.add_argument("--activation", choices=tuple(ACTIVATIONS), help="if the source does not say")
    p.add_argument("--heads", type=_heads, metavar="IMAGE[,TEXT]", help="numbers of heads")
    p.add_argument("--resolution", type=int, metavar="PIXELS", help="if the source does not say")
    p.add_argument("--pooling", choices=tuple(POOLINGS), help="of a text encoder (what it says)")
    p.add_argument("--context", type=int, metavar="TOKENS", help="longest text of an encoder (128)")
    p.add_argument("--key", help="the entry that holds the model, as state_dict_ema")
    p.add_argument("--prefix", help="what begins the model's names, as student.; leaves the others")
    p.add_argument("--half", action="store_true", help="store float16: half the size")
    p.add_argument("--verify", action="store_true", help="compare with torch on fixed inputs")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Metadata that the command line tells."""
    image_heads, text_heads = args.heads or (None, None)
    told = {
        "activation": args.activation,
        "text_activation": args.activation,
        "bert_activation": args.activation,
        "bert_context": args.context,
        "bert_heads": text_heads,
        "bert_pooling": args.pooling,
        "image_heads": image_heads,
        "resolution": args.resolution,
        "text_heads": text_heads,
    }
    return {key: value for key, value in told.items() if value is not None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 an error."""
    args = parser().parse_args(argv)
    try:
        run(args)
    except NnclipError as error:
        print(shown(f"torch_to_h5.py: {error}"), file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> None:
    """Convert as the flags say; CheckpointError if that fails."""
    conversion = convert_file(
        args.source,
        args.destination,
        dialect=args.dialect,
        config=args.config,
        given=_given(args),
        half=args.half,
        key=args.key,
        prefix=args.prefix,
    )
    _report(conversion, args.destination)
    if args.verify:
        _verify(conversion, args.destination, args.half)


if __name__ == "__main__":
    sys.exit(main())
