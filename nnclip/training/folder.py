"""A run's folder: whose it is, what it holds, and that one process at a time works in it.

`run.json` names the run; its checkpoints hold the same name. A folder with files of a run is taken
for another run's only by --overwrite, which removes them once the new run is ready to start.
"""

import json
import logging
import os
import platform
import sys
import time
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from nnclip.errors import CheckpointError, ConfigError
from nnclip.files import shown
from nnclip.locks import held, is_held
from nnclip.preflight import check_file, check_folder
from nnclip.training.boards import LOG
from nnclip.training.checkpoint import PATTERN, checkpoints, peek_state, step_of
from nnclip.training.config import TrainConfig
from nnclip.training.runstate import run_of
from nnclip.weights.h5 import write_whole

logger = logging.getLogger(__name__)

RUN, LOCK = "run.json", ".lock"
RUNS = Path("runs")  # the default folders lie here
MODELS = ("model.h5", "best.h5", "model-trained.h5", "model-lora.h5", "best-lora.h5")
FILES = (
    RUN, PATTERN, LOG, "settings.yaml", "resolved.yaml", *MODELS, "*_head*.h5", "curves.png",
    "*.series.txt", "events.out.tfevents.*", "wandb-id", f".{PATTERN}.*",
)  # fmt: skip


def files_of(folder: Path) -> list[Path]:
    """What a run has left in the folder, the most telling first."""
    return [path for pattern in FILES for path in sorted(folder.glob(pattern))]


def chosen_folder(config: TrainConfig) -> Path:
    """A run's folder: as the settings say, that of what is resumed, or the next free number."""
    if config.monitor_path:
        return Path(config.monitor_path)
    if config.resume not in ("", "latest"):
        return Path(config.resume).parent
    there = sorted(RUNS.glob("train-[0-9]*"), key=_number)
    used = [path for path in there if _number(path) and (files_of(path) or not config.resume)]
    if config.resume and used:
        return used[-1]
    return RUNS / f"train-{max(map(_number, there), default=0) + 1:03d}"


def _number(path: Path) -> int:
    digits = path.name.removeprefix("train-")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def made_folder(config: TrainConfig) -> Path:
    """Make the folder of a run; of several that begin at once, each gets a number of its own."""
    while True:
        folder = chosen_folder(config)
        new = not (config.monitor_path or config.resume)
        try:
            folder.mkdir(parents=True, exist_ok=not new)
            return folder
        except FileExistsError:
            continue  # another run was faster


def check_run(config: TrainConfig, folder: Path) -> None:
    """Make sure that a run may write into its folder, and its model where it shall go.

    Raises:
        ConfigError: the folder holds another run, or cannot be written to.
        CheckpointError: what is to be resumed is not there.
    """
    check_folder(folder, "--monitor-path")
    if is_held(folder / LOCK):
        raise ConfigError(busy(folder))
    check_holdings(config, folder)
    if config.model_save_path:
        again = config.overwrite or bool(config.resume)
        check_file(config.model_save_path, "--model-save-path", again)


def check_holdings(config: TrainConfig, folder: Path) -> None:
    """Make sure that the folder is free, or of the run that is resumed; errors as above."""
    if config.resume == "latest":
        _check_latest(config, folder)
    elif config.resume:
        _check_branch(config, folder, Path(config.resume))
    elif files_of(folder) and not config.overwrite:
        raise ConfigError(_taken(folder))


def _check_latest(config: TrainConfig, folder: Path) -> None:
    if config.overwrite:
        raise ConfigError(
            "--overwrite: found --resume latest, which goes on from what --overwrite removes; "
            "leave one of them out"
        )
    there = checkpoints(folder)
    left = [name for name in MODELS if (folder / name).exists()]
    if not there and left:
        raise ConfigError(
            f"--resume latest: found {left[0]} but no checkpoint in {shown(folder)}, expected one "
            "to go on from; name another folder (-m), or --overwrite this one"
        )
    if there and not any(map(_whole, there)):
        raise CheckpointError(
            f"--resume latest: found {len(there)} checkpoints in {shown(folder)}, none of them "
            "whole; name another folder (-m), or --overwrite this one"
        )


def _whole(path: Path) -> bool:
    try:
        peek_state(path)
    except CheckpointError:
        return False
    return True


def _check_branch(config: TrainConfig, folder: Path, path: Path) -> None:
    """--resume PATH: into a free folder, or the run that the checkpoint is of."""
    state = peek_state(path)
    if config.overwrite or not files_of(folder):
        return
    own = path.parent.resolve() == folder.resolve()
    if not own and identity(folder) not in (state.get("id"), None):
        raise ConfigError(_taken(folder))
    if not own and identity(folder) is None:
        raise ConfigError(_taken(folder))
    step = run_of(state).step
    later = [p for p in checkpoints(folder) if step_of(p) > step]
    if later:
        raise ConfigError(
            f"--resume {shown(path)}: found later checkpoints in {shown(folder)}, such as "
            f"{later[-1].name}; name another folder (-m), or remove them with --overwrite"
        )


def _taken(folder: Path) -> str:
    found = files_of(folder)[0].name
    last = checkpoints(folder)
    going_on = "go on with --resume latest, " if last else ""
    return (
        f"--monitor-path {shown(folder)}: found {found} of another run, expected a free folder; "
        f"{going_on}name another folder (-m), or remove that run with --overwrite"
    )


def busy(folder: Path) -> str:
    """The message where another process works in the folder."""
    about = read_run(folder)
    who = f"process {about['process']} on {about['host']}" if "process" in about else "a process"
    return (
        f"--monitor-path {shown(folder)}: found a run at work there ({who}), expected a free "
        "folder; name another (-m), or wait for its end"
    )


def hold(folder: Path) -> AbstractContextManager[None]:
    """Keep other runs out of the folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return held(folder / LOCK, busy(folder))


def clear(config: TrainConfig, folder: Path, step: int) -> None:
    """Remove what --overwrite may: another run, or of the own one what follows `step`."""
    resumed = Path(config.resume) if config.resume else None
    if resumed is not None and resumed.parent.resolve() == folder.resolve():
        removed = [path for path in checkpoints(folder) if step_of(path) > step]
    else:
        removed = files_of(folder)
    for path in removed:
        path.unlink(missing_ok=True)
    if removed:
        logger.warning(
            "--overwrite: removed %d files of the run in %s", len(removed), shown(folder)
        )


def read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says; empty where the file is missing."""
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def identity(folder: Path) -> str | None:
    """The name of the run in the folder; None where it has none."""
    found = read_run(folder).get("run")
    return found if isinstance(found, str) else None


def new_identity() -> str:
    """A name for a run that no other has."""
    return uuid.uuid4().hex


def write_run(folder: Path, run: str) -> None:
    """Write whose folder it is, and who works in it now."""
    about = {
        "run": run,
        "program": Path(sys.argv[0]).name,
        "process": os.getpid(),
        "host": platform.node(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }

    def fill(temporary: str) -> None:
        Path(temporary).write_text(json.dumps(about) + "\n", encoding="utf-8")

    write_whole(folder / RUN, fill)
