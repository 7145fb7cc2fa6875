"""Open MPI and NCCL, which NNabla's communicator opens by names that wheels do not give them.

It looks for `$OMPI_HOME/lib/libmpi.so` and `$NCCL_HOME/lib/libnccl.so` when it is loaded. The
wheels hold `libmpi.so.40`, beside a `libmpi.so` that is text for linkers, and `libnccl.so.2`. So a
folder of links, gone when the process ends, shows it both under its names.

Neither may be visible to the whole process (RTLD_GLOBAL) while the extension is loaded: the
extension has variables that are named like their functions, it would find those functions in place
of its variables, and crash writing to them.
"""

import atexit
import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nnclip.engine.cuda.libraries import NCCL, Finding, load_library, mapped_file

LIBMPI = "libmpi.so.40"  # Open MPI, 2 to 5
OTHER_LIBMPI = "libmpi.so.12"  # MPICH, Intel MPI
LEAST_NCCL = (2, 10, 3)


def find_libmpi() -> Finding:
    """Open MPI, where mpi4py finds it: MPI4PY_LIBMPI, this environment, the system."""
    named = os.environ.get("MPI4PY_LIBMPI", "")
    own = Path(sys.prefix, "lib", LIBMPI)
    wanted = named or (str(own) if own.is_file() else LIBMPI)
    install = "pip install -r requirements-cuda.txt"
    try:
        loaded = ctypes.CDLL(wanted, os.RTLD_LOCAL | os.RTLD_LAZY)
    except OSError as error:
        other = ", though MPICH, which NNabla cannot use, is there" if _has_mpich() else ""
        return Finding("MPI", problem=f"no Open MPI ({error}){other}: {install}")
    if not hasattr(loaded, "ompi_mpi_comm_world"):
        return Finding(
            "MPI",
            path=wanted,
            problem=f"{wanted} is no Open MPI, which NNabla's communicator needs: {install}",
        )
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int(0)
    loaded.MPI_Get_library_version(text, ctypes.byref(length))  # allowed before MPI_Init
    version = text.value.decode(errors="replace").split(",")[0].strip()
    return Finding("MPI", version, wanted if "/" in wanted else mapped_file(LIBMPI))


def find_nccl() -> Finding:
    """NCCL, from its wheel or the system."""
    found = load_library(NCCL, os.RTLD_LOCAL)
    if found.problem:
        return Finding("NCCL", problem=found.problem)
    number = ctypes.c_int(0)
    ctypes.CDLL(found.path).ncclGetVersion(ctypes.byref(number))
    code = number.value
    # before 2.9 it counted 2.8.4 as 2804, since then 2.10.3 as 21003
    parts = (code // 1000, code // 100 % 10, code % 100)
    if code >= 10000:
        parts = (code // 10000, code // 100 % 100, code % 100)
    version, problem = ".".join(map(str, parts)), ""
    if parts < LEAST_NCCL:
        problem = f"found NCCL {version} ({found.path}), expected 2.10.3 or later"
    return Finding("NCCL", version, found.path, problem)


def show_to_nnabla(libmpi: Finding, nccl: Finding) -> None:
    """Let NNabla's communicator find both; where the user's own variables name one, that stays."""
    folder = Path(tempfile.mkdtemp(prefix="nnclip-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "lib").mkdir()
    for variable, name, found in (
        ("OMPI_HOME", "libmpi.so", libmpi),
        ("NCCL_HOME", "libnccl.so", nccl),
    ):
        if variable not in os.environ and found.path and not found.problem:
            (folder / "lib" / name).symlink_to(found.path)
            os.environ[variable] = str(folder)


def _has_mpich() -> bool:
    if Path(sys.prefix, "lib", OTHER_LIBMPI).is_file():
        return True
    try:
        ctypes.CDLL(OTHER_LIBMPI)
    except OSError:
        return False
    return True
