"""The CUDA libraries that NNabla's extension is linked to: finding them, and loading them in order.

They come as wheels (nvidia-*-cu12), which put them where the dynamic loader does not look. Once a
library is in the process under its own name, whatever needs it finds it there: so they are loaded
one by one, those that others need first, before the extension is.
"""

import ctypes
import importlib.metadata
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LEAST_CUDNN = 8800  # as cudnnGetVersion counts; the extension was built with 8.8.0
INSTALL = "pip install -r requirements-cuda.txt"


@dataclass(frozen=True)
class Library:
    """A shared library, and the wheel that brings it.

    Attributes:
        soname: its file, which names the only version that fits.
        wheel: the package to install.
        folder: where that wheel puts it, below `nvidia`.
    """

    soname: str
    wheel: str
    folder: str


_CUDNN = ("nvidia-cudnn-cu12", "cudnn")
LIBRARIES = (
    Library("libcudart.so.12", "nvidia-cuda-runtime-cu12", "cuda_runtime"),
    Library("libnvJitLink.so.12", "nvidia-nvjitlink-cu12", "nvjitlink"),
    Library("libcublasLt.so.12", "nvidia-cublas-cu12", "cublas"),
    Library("libcublas.so.12", "nvidia-cublas-cu12", "cublas"),
    Library("libcusparse.so.12", "nvidia-cusparse-cu12", "cusparse"),
    Library("libcusolver.so.11", "nvidia-cusolver-cu12", "cusolver"),
    Library("libcurand.so.10", "nvidia-curand-cu12", "curand"),
    Library("libcufft.so.11", "nvidia-cufft-cu12", "cufft"),
    Library("libcudnn_ops_infer.so.8", *_CUDNN),
    Library("libcudnn_cnn_infer.so.8", *_CUDNN),
    Library("libcudnn_ops_train.so.8", *_CUDNN),
    Library("libcudnn_cnn_train.so.8", *_CUDNN),
    Library("libcudnn.so.8", *_CUDNN),
)
NCCL = Library("libnccl.so.2", "nvidia-nccl-cu12", "nccl")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: what.
        version: as it calls itself; empty where it does not say.
        path: where it was found; empty where it was not.
        problem: one sentence on what is wrong with it and what to do; empty where nothing is.
    """

    name: str
    version: str = ""
    path: str = ""
    problem: str = ""


def wheel_file(library: Library) -> Path | None:
    """The library's file in the first folder of `sys.path` that holds its wheel."""
    for root in sys.path:
        path = Path(root, "nvidia", library.folder, "lib", library.soname)
        if path.is_file():
            return path
    return None


def load_libraries() -> list[Finding]:
    """Load every library, in order, where all later ones find it; does no harm a second time.

    Where a wheel is not installed, a system-wide CUDA 12 may serve.
    """
    return [load_library(library) for library in LIBRARIES]


def problems_of(findings: Iterable[Finding]) -> list[str]:
    """What is wrong, each thing once: a wheel that is missing may lack several libraries."""
    return list(dict.fromkeys(one.problem for one in findings if one.problem))


def load_library(library: Library, visible: int = os.RTLD_GLOBAL) -> Finding:
    """Load one library, as a rule for the whole process, and say what was found."""
    file = wheel_file(library)
    try:
        loaded = ctypes.CDLL(str(file or library.soname), visible | os.RTLD_LAZY)
    except OSError as error:
        return Finding(library.soname, problem=_problem(library, file, str(error)))
    path = str(file or mapped_file(library.soname))
    if library.soname != "libcudnn.so.8":
        return Finding(library.soname, _wheel_version(library) if file else "", path)
    number = int(loaded.cudnnGetVersion())
    version = f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    problem = ""
    if number < LEAST_CUDNN:
        problem = f"found cuDNN {version} ({path}), expected 8.8 or 8.9: {INSTALL}"
    return Finding(library.soname, version, path, problem)


def _problem(library: Library, file: Path | None, error: str) -> str:
    if file is not None:
        return f"{library.soname}: found {file}, which cannot be loaded ({error}): {INSTALL}"
    others = _other_versions(library)
    if library.folder == "cudnn" and others:
        return (
            f"cuDNN: found only {', '.join(others)}, expected 8.8 or 8.9 (libcudnn.so.8): {INSTALL}"
        )
    if others:
        return f"{library.soname}: found only {', '.join(others)}, of another CUDA: {INSTALL}"
    return f"{library.wheel}: found neither it nor {library.soname} on the system: {INSTALL}"


def _other_versions(library: Library) -> list[str]:
    """Files of the same library that bear another version."""
    stem = library.soname.split(".so")[0].split("_")[0]
    return sorted(
        {
            path.name
            for root in sys.path
            for path in Path(root, "nvidia", library.folder, "lib").glob(f"{stem}.so.*")
            if path.name.rpartition(".")[2] != library.soname.rpartition(".")[2]
        }
    )


def _wheel_version(library: Library) -> str:
    try:
        return importlib.metadata.version(library.wheel)
    except importlib.metadata.PackageNotFoundError:
        return ""


def mapped_file(soname: str) -> str:
    """The file that this process has loaded as `soname`; empty where it has none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith(soname):
            return path
    return ""
