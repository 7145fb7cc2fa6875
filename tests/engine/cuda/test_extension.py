"""Loading NNabla's extension: order, links, TF32, and a sentence for each thing that is missing."""

import json
import signal

import pytest

from nnclip.engine.cuda.libraries import LIBRARIES

IMPORT = "import nnabla_ext.cuda as extension\n"
LOAD = "load_extension()\n"
FAIL = """
from nnclip.errors import ConfigError
try: load_extension()
except ConfigError as error: print(error)
"""


def test_without_the_loader_the_extension_finds_no_library(whole):
    done = whole.run(IMPORT)
    assert done.returncode == 1 and "cannot open shared object file" in done.stderr


def test_in_another_order_a_library_misses_what_it_needs(whole):
    backwards = "import ctypes\nfrom nnclip.engine.cuda.libraries import *\n"
    backwards += "for one in reversed(LIBRARIES): print(repr(load_library(one).problem))"
    said = whole.run(backwards).stdout
    assert "libcublas.so.12" in said and "cannot be loaded (libcublasLt.so.12" in said
    forwards = backwards.replace("reversed(LIBRARIES)", "LIBRARIES")
    assert whole.run(forwards).stdout.splitlines() == ["''"] * len(LIBRARIES)


def test_the_loader_makes_it_work_and_does_nothing_a_second_time(whole):
    done = whole.run(LOAD + IMPORT + LOAD + "print(len(extension.SEEN))")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3\n"  # what NNabla prints went to stderr
    assert "GPU compatibility" in done.stderr


def test_nothing_is_loaded_before_a_gpu_is_asked_for(whole):
    script = "print('libcu' in open('/proc/self/maps').read(), 'nnabla_ext.cuda' in sys.modules)"
    assert whole.run(script).stdout == "False False\n"


def test_open_mpi_and_nccl_are_found_by_the_names_that_nnabla_uses(whole):
    script = LOAD + IMPORT + "import os, pathlib\n"
    script += "for variable, name in (('OMPI_HOME', 'libmpi.so'), ('NCCL_HOME', 'libnccl.so')):\n"
    script += "    print(pathlib.Path(extension.SEEN[variable], 'lib', name).resolve())"
    mpi, nccl = whole.run(script).stdout.splitlines()
    assert "libmpi.so.40" in mpi and nccl == str(whole.file("libnccl.so.2").resolve())
    kept = whole.run(LOAD + IMPORT + "print(extension.SEEN['NCCL_HOME'])", NCCL_HOME="/mine")
    assert kept.stdout == "/mine\n"


def test_a_libmpi_that_everyone_sees_would_crash_the_extension(whole):
    seen = "import ctypes\nfrom nnclip.engine.cuda.collectives import *\n"
    seen += "ctypes.CDLL(find_libmpi().path, ctypes.RTLD_GLOBAL)\n"
    assert whole.run(seen + LOAD).returncode == -signal.SIGSEGV


def test_mpi4py_takes_the_same_open_mpi(whole):
    script = LOAD + "sys.path += normal\nimport mpi4py.MPI\nfrom pathlib import Path\n"
    script += "paths = map(Path, Path('/proc/self/maps').read_text().split())\n"
    script += "print(len({path.resolve() for path in paths if path.name.startswith('libmpi.so')}))"
    done = whole.run(script)
    assert done.stdout == "1\n", done.stderr


def test_mpi_before_the_extension_is_refused(whole):
    assert "imported before" in whole.run("sys.modules['mpi4py.MPI'] = sys\n" + FAIL).stdout


def test_tf32_is_decided_once(whole):
    seen = "print(extension.SEEN['NNABLA_CUDA_ALLOW_TF32'])\n"
    assert whole.run("load_extension(tf32=True)\n" + IMPORT + seen).stdout == "1\n"
    assert whole.run(LOAD + IMPORT + seen, NNABLA_CUDA_ALLOW_TF32="1").stdout == "1\n"
    both = "load_extension(tf32=False)\nload_extension()\n" + FAIL.replace("()", "(tf32=True)", 1)
    assert "TF32 is off in this process already" in whole.run(both).stdout


@pytest.mark.parametrize("library", LIBRARIES[::6], ids=lambda one: one.soname)
def test_a_library_that_is_missing_is_named(machine, library):
    machine.file(library.soname).unlink()
    said = machine.run(FAIL).stdout
    assert said.startswith("the GPU cannot be used: ")
    assert f"{library.wheel}: found neither it nor {library.soname}" in said
    assert "pip install -r requirements-cuda.txt" in said


def test_all_that_is_missing_is_told_at_once(machine):
    machine.file("libcurand.so.10").unlink()
    (machine.driver / "libcuda.so.1").unlink()
    curand, driver = machine.run(FAIL).stdout.split("; and ")
    assert "libcurand.so.10" in curand and "no NVIDIA driver" in driver


def test_a_damaged_library_is_named(machine):
    machine.file("libcufft.so.11").write_text("no library")
    assert "libcufft.so.11, which cannot be loaded" in machine.run(FAIL).stdout


def test_another_cudnn_is_told_once(machine):
    for path in list((machine.site / "nvidia/cudnn/lib").iterdir()):
        path.rename(str(path).replace(".so.8", ".so.9"))
    said = machine.run(FAIL).stdout
    assert said.count("expected 8.8 or 8.9") == 1 and "-r requirements-cuda.txt" in said


def test_a_cudnn_that_is_too_old_is_told(machine):
    machine.build("libcudnn.so.8", version=8500)
    assert "found cuDNN 8.5.0" in machine.run(FAIL).stdout


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"STUB_CUDA": "11040"}, "the NVIDIA driver is for CUDA 11.4, expected 12.0 or later"),
        ({"STUB_INIT": "100"}, "the NVIDIA driver shows no GPU"),
        ({"STUB_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "7"}, "at CUDA_VISIBLE_DEVICES=7"),
        ({"STUB_INIT": "803"}, "does not start (CUDA_ERROR_OF_A_STUB)"),
        ({"STUB_CAPABILITY": "52"}, "Stub GPU has compute capability 5.2, expected 6.0 (Pascal)"),
    ],
)
def test_a_driver_that_will_not_do_is_told(whole, environment, words):
    assert words in whole.run(FAIL, **environment).stdout


def test_a_missing_extension_is_told_without_looking_at_libraries(machine):
    for name in ("cuda", "cudnn"):
        (machine.site / "nnabla_ext" / name / "__init__.py").unlink()
        (machine.site / "nnabla_ext" / name).rename(machine.site / name)
    said = machine.run(FAIL).stdout
    assert said == "nnabla-ext-cuda120 is not installed: pip install -r requirements-cuda.txt\n"


@pytest.mark.parametrize(
    ("name", "precision", "backends"),
    [
        ("cudnn", "fp32", "['cudnn:float', 'cuda:float', 'cpu:float'] 0 0"),
        ("cudnn:1", "tf32", "['cudnn:float', 'cuda:float', 'cpu:float'] 1 1"),
        ("cuda", "fp16", "['cuda:half', 'cuda:float', 'cpu:float'] 0 None"),
    ],
)
def test_a_context_has_the_backends_of_its_precision(whole, name, precision, backends):
    script = f"context = gpu_context({name!r}, {precision!r})\n{IMPORT}"
    script += "print(context.backend, context.device_id, extension.SEEN['NNABLA_CUDA_ALLOW_TF32'])"
    assert whole.run(script).stdout.strip() == backends


def test_an_extension_that_only_warns_is_not_taken_for_working(machine):
    file = machine.site / "nnabla_ext" / "cuda" / "__init__.py"
    file.write_text(file.read_text().replace('["CpuCachedArray"]', "[]"))
    assert "NNabla's CUDA extension did not start" in machine.run(FAIL).stdout


def test_missing_nccl_is_no_obstacle_for_one_gpu(machine):
    machine.file("libnccl.so.2").unlink()
    assert machine.run(LOAD + IMPORT + "print('works')").stdout == "works\n"
    found = json.loads(machine.run("import json; print(json.dumps(look()))").stdout)
    assert found["problems"] == [] and "nvidia-nccl-cu12" in found["nccl"]["problem"]


def test_everything_is_looked_at(whole):
    found = json.loads(whole.run("import json; print(json.dumps(look()))").stdout)
    assert found["problems"] == []
    assert found["extension"]["version"] == "1.39.0"
    assert [one["problem"] for one in found["libraries"]] == [""] * len(LIBRARIES)
    versions = {one["name"]: one["version"] for one in found["libraries"]}
    assert versions["libcudnn.so.8"] == "8.9.7" and found["nccl"]["version"] == "2.23.3"
    (device,) = found["devices"]
    assert device["capability"] == [9, 0] and device["half"] and device["tf32"]
    old = whole.run("import json; print(json.dumps(look()))", STUB_CAPABILITY="61")
    (device,) = json.loads(old.stdout)["devices"]
    assert not any(device[name] for name in ("half", "tf32", "translated", "problem"))
    new = whole.run("import json; print(json.dumps(look()))", STUB_CAPABILITY="120")
    (device,) = json.loads(new.stdout)["devices"]
    assert device["half"] and device["tf32"] and device["translated"] and not device["problem"]
