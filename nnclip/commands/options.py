"""Flags that several commands share. Not a command itself: it has no HELP."""

import argparse
import os

from nnclip import clip
from nnclip.engine import PRECISIONS
from nnclip.engine.cuda import GPU_PRECISIONS, gpu_context, gpu_precision, is_gpu
from nnclip.fastest import AUTO
from nnclip.host import cores
from nnclip.image import Decoding
from nnclip.image.skips import IGNORE_FILE, USUAL, checked_patterns


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --precision and --context."""
    parser.add_argument(
        "-m",
        "--model",
        help='an .h5 file or a published name such as "ViT-B/32"; default: the bundled model',
    )
    parser.add_argument(
        "--precision",
        choices=tuple(dict.fromkeys((*PRECISIONS, AUTO, *GPU_PRECISIONS))),
        help="how to compute (auto: the fastest whose answers were measured to stay close to "
        "fp32's; tf32, fp16: GPUs); default: NNCLIP_PRECISION, else bf16 where the "
        "processor has it",
    )
    parser.add_argument(
        "-c", "--context", default="cpu", help="cpu, or cudnn (cudnn:1 for the second GPU)"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare --workers."""
    parser.add_argument(
        "--workers",
        type=int,
        default=cores(),  # decoding a photo takes more of a core than computing it in int8
        metavar="N",
        help="processes that decode images (default: one a core); 0: this one decodes",
    )


def add_exclude(parser: argparse.ArgumentParser) -> None:
    """Declare --exclude."""
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out files and folders, from now on; as in .gitignore, and as the lines of a "
        f"{IGNORE_FILE} in any folder; repeat it for several. Left out unless !GLOB brings it "
        f"back: {', '.join(USUAL)}",
    )


def excluded(args: argparse.Namespace) -> tuple[str, ...]:
    """The patterns that --exclude gives; ConfigError for one that cannot be read."""
    return checked_patterns(args.exclude)


def add_decoding(parser: argparse.ArgumentParser, as_seen: bool = True) -> None:
    """Declare --exact-pixels and --as-seen; `decoding_of` reads them.

    Args:
        parser: gets the flags.
        as_seen: what holds where the second is not given.
    """
    parser.add_argument(
        "--exact-pixels",
        action=argparse.BooleanOptionalAction,
        help="decode every pixel of large images, several times as slow; default: so many that at "
        "least twice the model's resolution remains",
    )
    usual = "yes" if as_seen else "no, as OpenAI's code, which published numbers come from"
    parser.add_argument(
        "--as-seen",
        action=argparse.BooleanOptionalAction,
        help=f"turn photos upright as their EXIF tag says; default: {usual}",
    )
    parser.set_defaults(usual_decoding=Decoding(as_seen=as_seen))


def decoding_of(args: argparse.Namespace, usual: Decoding | None = None) -> Decoding:
    """What those flags say; `usual` where they say nothing, or what was declared."""
    usual = usual or args.usual_decoding
    exact, as_seen = args.exact_pixels, args.as_seen
    return Decoding(
        usual.exact if exact is None else exact, usual.as_seen if as_seen is None else as_seen
    )


def prepare_gpu(args: argparse.Namespace) -> None:
    """Load NNabla's extension if --context asks for it: before MPI is, else it would crash."""
    if is_gpu(args.context):
        precision = gpu_precision(args.precision or os.environ.get("NNCLIP_PRECISION"))
        gpu_context(args.context, precision)


def load_model(args: argparse.Namespace, default: str | None = None) -> clip.CLIP:
    """The model that those flags name; `default` where they name none."""
    return clip.load(args.model or default, precision=args.precision, context=args.context)
