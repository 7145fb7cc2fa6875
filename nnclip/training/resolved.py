"""What the settings of a run came to: written beside its checkpoints, and told in two lines."""

import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nnclip.extras import extra
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.feed import AnyFeed
from nnclip.training.machine import Engine
from nnclip.training.model import Trainee
from nnclip.training.schedule import Schedule

with extra():
    import yaml

PACKAGES = ("nnabla", "nnabla-ext-cuda120", "numpy", "openvino", "pillow")


def of_machine(context: str, engine: Engine, communicator: Communicator) -> dict[str, Any]:
    """What the run computes on."""
    return {
        "ranks": communicator.size,
        "ranks_per_host": communicator.local_size,
        "context": context,
        "engine": "compiled" if engine.compiled else "nnabla",
        "precision": engine.precision,
        "threads_per_rank": engine.threads,
    }


def of_data(
    config: TrainConfig, communicator: Communicator, feed: AnyFeed, validation: AnyFeed | None
) -> dict[str, Any]:
    """What it reads."""
    return {
        "pairs": len(feed.table),
        "empty_captions": feed.table.dropped,
        "not_read": dict(feed.table.not_read),
        "validation_pairs": len(validation.table) if validation else 0,
        "validation_not_read": dict(validation.table.not_read) if validation else {},
        "workers_per_rank": feed.workers(communicator),
        "batch_per_rank": config.batch_size,
        "batch": config.batch_size * communicator.size,
    }


def of_model(trainee: Trainee, feed: AnyFeed) -> dict[str, Any]:
    """What it trains."""
    variables = trainee.variables()
    trained = {name: v for name, v in variables.items() if v.need_grad}
    return {
        "image_size": trainee.weights.config.image.resolution,
        "context_length": feed.context,
        "vocabulary": trainee.tokenizer.vocab_size,
        "parameters": sum(v.size for v in variables.values()),
        "trained_parameters": sum(v.size for v in trained.values()),
        "frozen_tensors": len(variables) - len(trained),
    }


def of_schedule(config: TrainConfig, schedule: Schedule, pairs: int, batch: int) -> dict[str, Any]:
    """How long it runs."""
    return {
        "steps": schedule.steps,
        "epochs": schedule.steps * batch / pairs,
        "warmup_steps": schedule.warmup,
        "weight_decay": config.decay,
    }


def told(values: dict[str, Any]) -> str:
    """The values that a user looks for first, in a few words."""
    return (
        "{ranks} x {batch_per_rank} pairs a step; each rank {engine} in {precision} on {context} "
        "with {threads_per_rank} threads and {workers_per_rank} data workers; {pairs} pairs, "
        "{empty_captions} empty captions left out; {steps} steps, {epochs:.4g} epochs, "
        "{warmup_steps} steps of warm-up; {trained_parameters:,} of {parameters:,} parameters "
        "trained, {image_size} pixels, {context_length} tokens"
    ).format(**values)


def write_resolved(path: Path, values: dict[str, Any]) -> None:
    """Write them, with the command and the versions of what computes."""
    about = {"command": shlex.join(sys.argv), "versions": _versions()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values | about, sort_keys=False), encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
