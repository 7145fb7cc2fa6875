"""NNabla's CUDA extension and NVIDIA's wheels themselves, everything up to the driver.

Needs an environment with requirements-cuda.txt (4 GB), so these run only where there is one:
NNCLIP_CUDA_VENV names it, or it is the one that the tests run in. The driver is a stub without GPU.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VENV = os.environ.get("NNCLIP_CUDA_VENV")
PYTHON = Path(VENV, "bin", "python") if VENV else Path(sys.executable)
THERE = bool(VENV) or importlib.util.find_spec("nnabla_ext.cuda") is not None

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not THERE, reason="no requirements-cuda.txt here, nor NNCLIP_CUDA_VENV"),
]

LOADED = """
from nnclip.engine.cuda import libraries, collectives
assert not libraries.problems_of(libraries.load_libraries())
collectives.show_to_nnabla(collectives.find_libmpi(), collectives.find_nccl())
"""
OPEN = """
import ctypes, pathlib, nnabla_ext.cuda as extension
(file,) = pathlib.Path(extension.__file__).parent.glob("libnnabla_cuda*.so")
library = ctypes.CDLL(str(file))
print("opened", library.dl_mpi_init(), library.dl_nccl_init(), flush=True)
"""
SUM = """
from mpi4py import MPI
print("sum", MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1), flush=True)
"""


@pytest.fixture
def run(stub_driver):
    """Runs Python of that environment with a driver that shows no GPU."""

    def run(*command, launcher=(), **environment):
        paths = {"LD_LIBRARY_PATH": str(stub_driver), "PYTHONPATH": str(ROOT), "STUB_INIT": "100"}
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return subprocess.run(
            [*launcher, PYTHON, *command],
            env={**os.environ, **paths, **root, **environment},
            capture_output=True,
            text=True,
        )

    return run


def test_every_symbol_of_every_library_is_found(run):
    script = LOADED + "import nnabla_ext.cuda, nnabla_ext.cudnn\nprint('imported')"
    done = run("-c", script, LD_BIND_NOW="1")
    assert done.returncode == 0 and done.stdout.endswith("imported\n"), done.stderr


def test_without_the_loader_it_cannot_be_imported(run):
    done = run("-c", "import nnabla_ext.cuda")
    assert done.returncode == 1 and "Error" in done.stderr.splitlines()[-1]


def test_one_library_that_was_not_loaded_is_one_too_many(run):
    script = "from nnclip.engine.cuda.libraries import *\n"
    script += "for one in LIBRARIES: 'cufft' in one.soname or load_library(one)\n"
    done = run("-c", script + "import nnabla_ext.cuda")
    assert done.returncode == 1 and "libcufft.so.11" in done.stderr.splitlines()[-1]


def test_nnabla_opens_open_mpi_and_nccl_and_mpi4py_works_beside_it(run):
    done = run("-c", OPEN.join([LOADED, SUM]))
    assert "opened 0 0" in done.stdout and "sum 1" in done.stdout, done.stderr


def test_the_same_holds_for_two_ranks(run):
    flags = ["--oversubscribe", "--bind-to", "none", "-n", "2"]
    done = run("-c", OPEN.join([LOADED, SUM]), launcher=[PYTHON.with_name("mpirun"), *flags])
    assert done.stdout.count("opened 0 0") == 2 and done.stdout.count("sum 3") == 2, done.stderr


def test_without_links_nnabla_finds_neither(run):
    unlinked = LOADED.partition("collectives.show")[0]
    done = run("-c", unlinked + OPEN)
    assert "opened -1 -1" in done.stdout, done.stderr


def test_the_doctor_names_the_driver_alone(run):
    done = run("-m", "nnclip", "doctor")
    assert done.returncode == 1
    assert "the NVIDIA driver shows no GPU" in done.stdout
    assert "found neither" not in done.stdout and "libcudnn.so.8           8.9" in done.stdout


def test_training_on_a_gpu_says_what_is_missing(run):
    done = run(ROOT / "train.py", "-c", "cudnn", "--train-txt-path", "pairs.csv")
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("train.py:")]
    assert "--context cudnn" in line and "the NVIDIA driver shows no GPU" in line
