"""A machine with a GPU, in miniature: libraries with the names, versions and dependencies of the
real ones, compiled here; and an extension that, like the real one, is linked to all of them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnclip.engine.cuda.libraries import LIBRARIES, NCCL

HERE = Path(__file__).parent
NEEDS = {  # as the real wheels' libraries are linked to each other
    "libcublas.so.12": ["libcublasLt.so.12"],
    "libcusparse.so.12": ["libnvJitLink.so.12"],
    "libcusolver.so.11": ["libcublas.so.12", "libcublasLt.so.12", "libcusparse.so.12"],
    "libcudnn_cnn_infer.so.8": ["libcudnn_ops_infer.so.8"],
    "libcudnn_ops_train.so.8": ["libcudnn_ops_infer.so.8"],
    "libcudnn_cnn_train.so.8": ["libcudnn_ops_train.so.8", "libcudnn_cnn_infer.so.8"],
}
VERSIONS = {  # number -> function that tells it
    "libcudnn.so.8": "long cudnnGetVersion(void) { return %s; }",
    "libnccl.so.2": "int ncclGetVersion(int *v) { *v = %s; return 0; }",
}
EXTENSION = """
import ctypes, os
HERE = os.path.dirname(__file__)
print("GPU compatibility could not be verified")  # as the real one does, on stdout
ctypes.CDLL(os.path.join(HERE, "libfake_extension.so"))
def array_classes(): return ["CpuCachedArray"]  # so NNabla computes on the CPU
SEEN = {name: os.environ.get(name) for name in ("OMPI_HOME", "NCCL_HOME", "NNABLA_CUDA_ALLOW_TF32")}
"""
# The real extension, too, writes to variables of these names: where it finds functions instead,
# because a library that has them was made visible to the whole process, it crashes.
TRAP = """
void *MPI_Init, *ncclGetVersion;
__attribute__((constructor)) static void start(void) { MPI_Init = ncclGetVersion = 0; }
"""


def compile_library(path: Path, source: str, needs: list[Path] | None = None) -> None:
    """A shared library whose soname is its file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{path.name}", "-o", path]
    command += ["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", "-x", "none", *(needs or [])]
    subprocess.run(command, input=source, text=True, check=True)


def function_of(soname: str) -> str:
    """The function that tells that a fake library is there."""
    return soname.replace(".", "_").replace("-", "_")


class Machine:
    """A folder of fake wheels and one with a stub of the driver.

    Attributes:
        site: like a `site-packages`.
        driver: holds libcuda.so.1.
    """

    def __init__(self, folder: Path) -> None:
        self.site, self.driver = folder / "site", folder / "driver"

    def file(self, soname: str) -> Path:
        """Where a library lies."""
        library = next(one for one in (*LIBRARIES, NCCL) if one.soname == soname)
        return self.site / "nvidia" / library.folder / "lib" / soname

    def build(self, soname: str, version: int = 0) -> None:
        """Compile one library; `version` for those that tell theirs."""
        source = f"int {function_of(soname)}(void) {{ return 1; }}\n"
        if soname in VERSIONS:
            source += VERSIONS[soname] % version
        needs = [self.file(other) for other in NEEDS.get(soname, [])]
        compile_library(self.file(soname), source, needs)

    def copy(self, folder: Path) -> "Machine":
        """The same machine in another folder, to be changed."""
        shutil.copytree(self.site.parent, folder, symlinks=True)
        return Machine(folder)

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess:
        """Run Python with only these wheels to be found, beside what nnclip itself needs."""
        begin = "import sys\nfrom nnclip.engine.cuda import *\n"
        begin += "from nnclip.engine.cuda.examine import look\n"
        begin += f"normal = sys.path[:]\nsys.path[:] = [{str(self.site)!r}]\n"
        return subprocess.run(
            [sys.executable, "-c", begin + script],
            capture_output=True,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(self.driver), **environment},
        )


@pytest.fixture(scope="session")
def stub_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1, see libcuda_stub.c."""
    folder = tmp_path_factory.mktemp("driver")
    compile_library(folder / "libcuda.so.1", (HERE / "libcuda_stub.c").read_text())
    return folder


@pytest.fixture(scope="session")
def whole(stub_driver: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which nothing is missing; not to be changed."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    for library in LIBRARIES:
        machine.build(library.soname, version=8907)
    machine.build(NCCL.soname, version=22303)
    shutil.copytree(stub_driver, machine.driver)
    for name in ("cuda", "cudnn"):
        package = machine.site / "nnabla_ext" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            EXTENSION if name == "cuda" else "import nnabla_ext.cuda\n"
        )
    used = [one.soname for one in LIBRARIES if "_" not in one.soname]
    source = "\n".join(f"int {function_of(name)}(void);" for name in used)
    calls = " + ".join(f"{function_of(name)}()" for name in used)
    source += f"\nint cuInit(unsigned);\nint all(void) {{ return {calls} + cuInit(0); }}\n{TRAP}"
    compile_library(
        machine.site / "nnabla_ext" / "cuda" / "libfake_extension.so",
        source,
        [*(machine.file(name) for name in used), machine.driver / "libcuda.so.1"],
    )
    info = machine.site / "nnabla_ext_cuda120-1.39.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: nnabla-ext-cuda120\nVersion: 1.39.0\n")
    return machine


@pytest.fixture
def machine(whole: Machine, tmp_path: Path) -> Machine:
    """A copy that a test may break."""
    return whole.copy(tmp_path / "machine")
