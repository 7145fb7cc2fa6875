"""`nnclip doctor` on machines with and without what a GPU needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def doctor(*flags, machine=None, **environment):
    paths = {} if machine is None else {
        "PYTHONPATH": str(machine.site), "LD_LIBRARY_PATH": str(machine.driver)
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nnclip", "doctor", *flags],
        cwd=ROOT,
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
    )


def verdicts(text):
    """use -> whether it works, from the report's last part."""
    lines = text.partition("What works here\n")[2].splitlines()
    rows = [line for line in lines if line.strip() and "next:" not in line]
    return {row[7:27].strip(): row[2:7].strip() for row in rows}


def test_without_a_gpu_nothing_is_wrong_and_the_next_step_is_told():
    done = doctor(NNCLIP_PRECISION="fp32")
    assert done.returncode == 0, done.stderr
    works = verdicts(done.stdout)
    assert works.pop("NVIDIA GPU") == "no"
    assert works == dict.fromkeys(
        ("answers on the CPU", "training on the CPU", "several ranks"), "yes"
    )
    assert "next: pip install -r requirements-cuda.txt, see docs/gpu.md" in done.stdout


def test_a_gpu_that_works_is_shown_with_all_it_needs(whole):
    done = doctor("--json", machine=whole)
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["gpu"]["devices"][0]["name"] == "Stub GPU"
    assert [one["works"] for one in report["verdicts"]] == [True] * 4
    text = doctor(machine=whole).stdout
    assert "Stub GPU, compute capability 9.0, 8 GiB, tensor cores for half and tf32" in text
    assert "libcudnn.so.8" in text and "NCCL" in text and "CUDA 12.4" in text


def test_what_is_installed_but_does_not_work_is_an_error(machine):
    machine.file("libcurand.so.10").unlink()
    done = doctor(machine=machine, STUB_CUDA="11040")
    assert done.returncode == 1
    assert verdicts(done.stdout)["NVIDIA GPU"] == "no"
    assert "for CUDA 11.4, expected 12.0" in done.stdout
    assert "nvidia-curand-cu12: found neither" in done.stdout
    assert "(and 1 more, see above)" in done.stdout


def test_an_extension_that_crashes_takes_only_itself_down(machine):
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    (machine.site / "nnabla_ext" / "cuda" / "__init__.py").write_text(crash)
    done = doctor(machine=machine)
    assert done.returncode == 1
    assert "loading NNabla's CUDA extension ended in SIGSEGV" in done.stdout
    assert verdicts(done.stdout)["answers on the CPU"] == "yes"
