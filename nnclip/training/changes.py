"""What has changed since a checkpoint: told line by line, refused where no run can go on."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from nnclip.errors import ConfigError
from nnclip.training.config import TrainConfig, flag_of

logger = logging.getLogger(__name__)

# Settings that change no number, or that other lines tell of.
QUIET = frozenset({
    "workers", "max_bad", "micro_batch_size", "batch_size", "epochs", "max_iter", "device_id",
    "timeout", "monitor_path", "model_save_path", "model_save_interval", "keep_last", "resume",
    "overwrite", "dry_run", "val_interval", "eval", "eval_interval", "log_interval",
    "check_interval", "tensorboard", "wandb", "train", "distil_cache",
})  # fmt: skip
_ORDER = "the order of the pairs would change in the middle of an epoch"
_MODEL = "the checkpoint holds another model"
REFUSED = {
    "seed": _ORDER,
    "keep_together": _ORDER,
    "every_caption": _ORDER,
    "group_captions": _ORDER,
    "solver": "the checkpoint holds what another solver remembers",
    "lora": "the checkpoint holds other adapters",
    "lora_target": "the checkpoint holds other adapters",
    "ema": "the checkpoint may hold no average, or one that this run does not need",
    "freeze": "the checkpoint holds the moments of other parameters",
    "finetuning": _MODEL,
    "tokenizer": _MODEL,
}


def check_changes(then: Mapping[str, Any], config: TrainConfig, now: Mapping[str, Any]) -> None:
    """Tell what has changed since a checkpoint.

    Args:
        then: the checkpoint's state.
        config: the settings of now.
        now: `total`, the steps of the whole run, and `pairs`, the table's fingerprint.

    Raises:
        ConfigError: the run cannot go on with one of the changes.
    """
    settings = then.get("settings")
    changed = _changed(settings if isinstance(settings, dict) else {}, config)
    for name, (old, new) in changed.items():
        if name in REFUSED:
            raise ConfigError(
                f"--resume: found {flag_of(name)} {_shown(new)}, but {_shown(old)} in the "
                f"checkpoint: {REFUSED[name]}; keep it, or begin a new run from its model "
                "(-ft --model-load-path)"
            )
    for name, (old, new) in changed.items():
        logger.warning("--resume: %s was %s, is %s", flag_of(name), _shown(old), _shown(new))
    if "pairs" in then and then["pairs"] != now["pairs"]:
        logger.warning("--resume: the pairs are not those of the checkpoint (--train-txt-path)")
    _check_length(then, config, int(now["total"]), int(now["batch"]))


def _check_length(then: Mapping[str, Any], config: TrainConfig, total: int, batch: int) -> None:
    run = then["run"]
    done = round(run["step"] * run["batch"] / batch) if batch else run["step"]
    if done > total:
        flag = "--max-iter" if config.max_iter else "--epochs"
        raise ConfigError(
            f"--resume: found a checkpoint after {done} steps, expected at most the {total} of "
            f"this run; give a larger {flag}, or go on from an earlier checkpoint"
        )
    before = then.get("total", total)
    if abs(before * run["batch"] - total * batch) >= batch + run["batch"]:
        logger.warning(
            "--resume: the run was to have %d steps of %d pairs, is to have %d of %d; its schedule "
            "is that of the new length",
            before,
            run["batch"],
            total,
            batch,
        )
    if done == total:
        logger.warning("--resume: the checkpoint is the end of the run: no step is left to do")


def _changed(then: dict[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Setting -> what it was and what it is."""
    now = dataclasses.asdict(config)
    skipped = QUIET | ({"model"} if config.finetuning else {"model_load_path"})
    return {
        name: (then[name], value)
        for name, value in now.items()
        if name in then and name not in skipped and then[name] != value
    }


def _shown(value: Any) -> str:
    return "empty" if value == "" else str(value)
