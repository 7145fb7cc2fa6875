"""`nnclip train-heads`: heads on frozen towers, trained in minutes on a CPU."""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from nnclip.commands.cache_features import (
    Frozen,
    add_cache_arguments,
    cached_pairs,
    checked_table,
    frozen,
)
from nnclip.errors import ConfigError, DataError
from nnclip.preflight import check_folder
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.features import FeatureCache
from nnclip.training.flags import add_setting
from nnclip.training.head_feed import FeaturePairs
from nnclip.training.heads import HeadTask, HeadTrainer, heads_of
from nnclip.training.launch import launch
from nnclip.training.machine import threads_of
from nnclip.training.model import Trainee

HELP = "train the heads of a model on the features of its frozen towers"

# The settings of train.py that mean something here; the others are its defaults.
SETTINGS: dict[str, Any] = {
    "epochs": 5.0,
    "max_iter": 0,
    "batch_size": 64,
    "lr": 1e-3,
    "solver": "AdamW",
    "weight_decay": 0.0,  # AdamW without decay is torch's Adam
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "clip_norm": 1.0,
    "schedule": "constant",
    "warmup_iter": 0.0,
    "aggregate": False,
    "seed": 412,
    "type_config": "float",
    "engine": "auto",
    "context": "",
    "workers": -1,
    "max_bad": 1000,
    "exact_pixels": False,
    "as_seen": True,
    "image_root": "",
    "csv_img_key": "filepath",
    "csv_caption_key": "title",
    "separator": "",
    "model_save_path": "",
    "model_save_interval": 1000,
    "keep_last": 2,
    "resume": "",
    "val_interval": 0,
    "log_interval": 10,
    "timeout": 600.0,
    "tensorboard": False,
    "wandb": "",
    "overwrite": False,
    "dry_run": False,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("model", help="an .h5 with heads, as join makes it")
    parser.add_argument("pairs", help="as train.py takes them: table, COCO .json, folder or shards")
    parser.add_argument("-m", "--monitor-path", required=True, help="folder of the run")
    parser.add_argument("--val", default="", metavar="PAIRS", help="to validate on")
    parser.add_argument(
        "--split",
        type=float,
        default=0.8,
        help="without --val, the share of PAIRS to train on; the rest validates (%(default)s)",
    )
    parser.add_argument(
        "--temperature",
        default="learned",
        help="what cosines are divided by: learned, none (1, as multilingual CLIP does it), or a "
        "number (%(default)s)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="of features (default: features in the run)"
    )
    add_cache_arguments(parser)
    parser.add_argument(
        "--whole-tower",
        action="store_true",
        help="with --teacher: the student's text tower learns too, not only its head (--lr 1e-5)",
    )
    for entry in dataclasses.fields(TrainConfig):
        if entry.name in SETTINGS:
            value = SETTINGS[entry.name]
            shown = "" if value in ("", -1, 0, False) else f"{value}"
            add_setting(parser, entry, shown)


def run(args: argparse.Namespace) -> int:
    """Train; prints where the model is."""
    given = {name: value for name, value in vars(args).items() if name in SETTINGS}
    config = TrainConfig(**{**SETTINGS, **given}, train=args.pairs, monitor_path=args.monitor_path)
    for name in SETTINGS:
        setattr(args, name, getattr(config, name))
    temperature = _temperature(args.temperature)
    if args.whole_tower and not args.teacher:
        raise ConfigError("--whole-tower: found no --teacher; with images, use train.py -ft")

    def make(config: TrainConfig, communicator: Communicator, context: str) -> HeadTrainer:
        model = frozen(args.model, args)
        there = tuple(heads_of(model.weights))
        learns = tuple(side for side in there if side == "text" or not args.teacher)
        if not (learns or args.whole_tower):
            raise ConfigError(
                f"{args.model}: found no head to train; put some on with nnclip join "
                f"{args.model} {args.model} --heads residual -o MODEL.h5"
            )
        pairs, held_out = _data(args, model, communicator)
        task = HeadTask(pairs, held_out, learns, temperature, bool(args.teacher), args.whole_tower)
        trainee = Trainee(model.weights, model.tokenizer)
        return HeadTrainer(config, communicator, context, trainee, task)

    return launch("nnclip train-heads", config, make)


def _check(args: argparse.Namespace, pairs: FeaturePairs, width: int) -> None:
    """Raise DataError where too much is left out, ConfigError where a teacher does not fit."""
    if pairs.broken + pairs.dropped > args.max_bad:
        raise DataError(
            f"{args.pairs}: found {pairs.broken} broken images and {pairs.dropped} empty "
            f"captions, more than --max-bad {args.max_bad}"
        )
    if args.teacher and pairs.image.shape[1] != width:
        raise ConfigError(
            f"--teacher {args.teacher}: gives {pairs.image.shape[1]} numbers, but the heads of "
            f"{args.model} give {width}; join it with --width {pairs.image.shape[1]}"
        )


def _temperature(text: str) -> float | None:
    """The number that `--temperature` means; None to learn it."""
    if text in ("learned", "none"):
        return None if text == "learned" else 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.01 <= value < math.inf:
        raise ConfigError(
            f"--temperature: found {text}, expected learned, none, or a number of at least 0.01"
        )
    return value


def _data(
    args: argparse.Namespace, model: Frozen, communicator: Communicator
) -> tuple[FeaturePairs, FeaturePairs | None]:
    """What is trained on, and what is held out."""
    workers = args.workers if args.workers >= 0 else threads_of(communicator)
    if args.cache:
        check_folder(args.cache, "--cache")
    cache = FeatureCache(
        args.cache or Path(args.monitor_path) / "features",
        args.half,
        workers,
        complete=communicator.size > 1,
    )
    tower = args.whole_tower
    if args.val and not args.teacher:  # before hours of computing the features of the others
        checked_table(args, args.val)
    pairs = cached_pairs(args, args.pairs, model, cache, tower)
    _check(args, pairs, model.weights.config.embed)
    if args.val:
        return pairs, cached_pairs(args, args.val, model, cache, tower)
    return pairs.split(args.split, args.seed) if args.split < 1 else (pairs, None)
