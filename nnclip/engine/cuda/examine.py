"""Everything that using a GPU needs, looked at in a process of its own.

    python -m nnclip.engine.cuda.examine

prints one JSON line. A process of its own, because a library that does not fit may crash whoever
loads it, and because the one who asks may go on without a GPU.
"""

import importlib.metadata
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from nnclip.engine.cuda.collectives import find_libmpi, find_nccl
from nnclip.engine.cuda.driver import find_driver
from nnclip.engine.cuda.extension import WHEEL, extension_installed, load_extension, tf32_allowed
from nnclip.engine.cuda.libraries import Finding, load_libraries, problems_of
from nnclip.errors import ConfigError

PATIENCE = 120  # seconds that loading 2 GB of libraries from a slow disk may take


def examine() -> dict[str, Any]:
    """Look at everything, in a child process.

    Returns: `extension`, `libraries`, `driver`, `devices`, `mpi` and `nccl` as `Finding`s and
        `Device`s made dicts; `tf32` as NNabla's variable has it; `problems`, a sentence each, none
        where a GPU can be used.
    """
    command = [sys.executable, "-m", "nnclip.engine.cuda.examine"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return _failed(f"looking at the GPU took more than {PATIENCE} s: is the driver stuck?")
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    number = -done.returncode
    name = signal.Signals(number).name if number > 0 else f"exit status {done.returncode}"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return _failed(f"loading NNabla's CUDA extension ended in {name} ({last})")


def look() -> dict[str, Any]:
    """The same in this process."""
    libraries, driver = load_libraries(), find_driver()
    mpi, nccl = find_libmpi(), find_nccl()
    extension = _extension(problems_of(libraries) + driver.problems)
    problems = [extension.problem] if extension.problem else []
    if extension.version:
        problems = problems_of(libraries) + driver.problems + problems
    return {
        "extension": asdict(extension),
        "libraries": [asdict(one) for one in libraries],
        "driver": asdict(driver.finding),
        "devices": [
            asdict(one) | {"half": one.half, "tf32": one.tf32, "translated": one.translated}
            for one in driver.devices
        ],
        "mpi": asdict(mpi),
        "nccl": asdict(nccl),
        "tf32": tf32_allowed(),
        "problems": problems,
    }


def _extension(problems: list[str]) -> Finding:
    """NNabla's extension; imported only where nothing that it needs is missing."""
    if not extension_installed():
        problem = f"{WHEEL} is not installed: pip install -r requirements-cuda.txt"
        return Finding(WHEEL, problem=problem)
    version = importlib.metadata.version(WHEEL)
    if problems:
        return Finding(WHEEL, version)
    try:
        load_extension("cudnn")
    except ConfigError as error:
        return Finding(WHEEL, version, problem=str(error))
    path = sys.modules["nnabla_ext.cudnn"].__file__ or ""
    return Finding(WHEEL, version, path)


def _failed(problem: str) -> dict[str, Any]:
    found = asdict(Finding(WHEEL, problem=problem))
    empty: dict[str, Any] = {"libraries": [], "devices": [], "driver": {}, "mpi": {}, "nccl": {}}
    return {"extension": found, **empty, "tf32": tf32_allowed(), "problems": [problem]}


if __name__ == "__main__":
    print(json.dumps(look()))
