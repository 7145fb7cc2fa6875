"""Importing NNabla's CUDA extension, once everything that it needs is in the process."""

import contextlib
import importlib
import importlib.util
import logging
import os
import sys

from nnclip.engine.cuda.collectives import find_libmpi, find_nccl, show_to_nnabla
from nnclip.engine.cuda.driver import find_driver
from nnclip.engine.cuda.libraries import load_libraries, problems_of
from nnclip.errors import ConfigError

logger = logging.getLogger(__name__)

WHEEL = "nnabla-ext-cuda120"
TF32 = "NNABLA_CUDA_ALLOW_TF32"  # read by NNabla when the extension is imported, never again


def extension_installed() -> bool:
    """Whether NNabla's CUDA extension is there; does not import it."""
    return all(map(importlib.util.find_spec, ("nnabla_ext", "nnabla_ext.cuda")))


def load_extension(name: str = "cudnn", tf32: bool | None = None) -> None:
    """Import `nnabla_ext.cuda` or `nnabla_ext.cudnn`; does nothing a second time.

    Args:
        name: `cuda` or `cudnn`.
        tf32: whether products of float32 may round their factors to TF32 (a mantissa of 10 bits),
            which is several times faster from Ampere on. NNabla decides it once for a process;
            None leaves it as it is (off, unless the environment's NNABLA_CUDA_ALLOW_TF32 says 1).

    Raises:
        ConfigError: something is missing, with a sentence for each thing; or TF32 was decided
            otherwise before.
    """
    if "nnabla_ext.cuda" in sys.modules:
        if tf32 not in (None, tf32_allowed()):
            raise ConfigError(
                f"TF32 is {'on' if tf32_allowed() else 'off'} in this process already, and NNabla "
                "decides it once: ask for the same precision wherever a GPU is used, or start "
                f"another process (or set {TF32})"
            )
    else:
        _prepare()
        if tf32 is not None:
            os.environ[TF32] = str(int(tf32))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # NNabla prints what it cannot check
            importlib.import_module(f"nnabla_ext.{name}")
    except Exception as error:  # where a library is missing, even a RecursionError
        raise ConfigError(
            f"nnabla_ext.{name} cannot be imported ({type(error).__name__}: {error}); "
            "`nnclip doctor` looks at everything it needs"
        ) from error
    if not sys.modules["nnabla_ext.cuda"].array_classes():  # it only logs that it failed
        raise ConfigError(
            "NNabla's CUDA extension did not start, see its warning above; "
            "`nnclip doctor` looks at everything it needs"
        )


def tf32_allowed() -> bool:
    """What NNabla makes of its variable."""
    return os.environ.get(TF32, "0") not in ("", "0")


def _prepare() -> None:
    """Load what the extension needs, or say what is missing."""
    if not extension_installed():
        raise ConfigError(f"{WHEEL} is not installed: pip install -r requirements-cuda.txt")
    if "mpi4py.MPI" in sys.modules:
        raise ConfigError(
            "mpi4py.MPI was imported before NNabla's CUDA extension, which then crashes: load the "
            "model with its GPU context (or call nnclip.engine.cuda.load_extension()) first"
        )
    problems = problems_of(load_libraries()) + find_driver().problems
    if problems:
        raise ConfigError("the GPU cannot be used: " + "; and ".join(problems))
    libmpi, nccl = find_libmpi(), find_nccl()
    for one in (libmpi, nccl):
        if one.problem:
            logger.info("several GPUs cannot work together: %s", one.problem)
    show_to_nnabla(libmpi, nccl)
