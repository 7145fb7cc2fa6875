"""`nnclip doctor`: what works on this machine, what does not, and what to do about it."""

import argparse
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import nnclip
from nnclip import clip
from nnclip.assets import asset
from nnclip.engine import (
    available_precisions,
    compile_step,
    default_precision,
    openvino_available,
)
from nnclip.engine.cuda import extension_installed
from nnclip.engine.cuda.examine import examine
from nnclip.engine.precision import cpu_flags, processor_name
from nnclip.extras import how as how_to_install
from nnclip.host import cores
from nnclip.nnabla import INSTALLED, F, nn
from nnclip.training.mpirun import Launcher, try_mpirun

HELP = "say what works on this machine (CPU, several ranks, GPU), and what to do where it does not"
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
PACKAGES = ("nnabla", "openvino", "numpy", "mpi4py", "nnabla-ext-cuda120")


@dataclass(frozen=True)
class Verdict:
    """What a user may want to do, and whether this machine does it.

    Attributes:
        use: what.
        works: whether it does.
        how: in what way, or why not.
        next: what to do about it; empty where nothing is left to do.
        installed: whether it is meant to work here: what was never installed is no fault.
    """

    use: str
    works: bool
    how: str
    next: str = ""
    installed: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Print a report that ends with verdicts; 0 if everything that is installed works."""
    ranks, gpu = try_mpirun(), examine()
    verdicts = [_answers(), _training(), _ranks(ranks), _gpu(gpu)]
    report: dict[str, Any] = {
        "nnclip": nnclip.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: v for name in PACKAGES if (v := _version(name))},
        "cpu": _processor(),
        "ranks": asdict(ranks),
        "gpu": gpu,
        "verdicts": [asdict(one) for one in verdicts],
    }
    print(json.dumps(report) if args.json else told(report))
    return 0 if all(one.works for one in verdicts if one.installed) else 1


def _processor() -> dict[str, Any]:
    return {
        "name": processor_name(),
        "cores": cores(),
        "instructions": [flag for flag in INSTRUCTIONS if flag in cpu_flags()],
        "precisions": list(available_precisions()) if openvino_available() else ["fp32"],
        "default": default_precision() if openvino_available() else "fp32",
    }


def _answers() -> Verdict:
    """Ask the bundled model, as the user's first program would."""

    def ask() -> str:
        begin = time.perf_counter()
        model = clip.CLIP()
        model.run(asset("example.jpg"), ["a cat", "a dog"])
        seconds = time.perf_counter() - begin
        return f"the bundled model answered after {seconds:.1f} s in {model.precision}"

    return _tried("answers on the CPU", ask)


def _training() -> Verdict:
    """Take the gradient of a small product."""

    def step() -> str:
        x = nn.Variable((2, 4, 4))
        weight = nn.Variable.from_numpy_array(np.ones((2, 4, 4), np.float32), need_grad=True)
        loss = F.sum(F.batch_matmul(x, weight))
        compile_step({"x": x}, {"loss": loss}, {"w": weight})(x=np.ones((2, 4, 4), np.float32))
        if not np.array_equal(weight.g, np.full((2, 4, 4), 4, np.float32)):
            raise ValueError("the gradient of a product is wrong")
        half = "bf16" if "bf16" in available_precisions() else "no faster here"
        return f"a step was compiled; fp32, with -t half {half}"

    use = "training on the CPU"
    if not INSTALLED:
        install = f"{how_to_install('train')}, under Python 3.10"
        return Verdict(use, False, "NNabla is not installed", install, installed=False)
    return _tried(use, step)


def _tried(use: str, attempt: Callable[[], str]) -> Verdict:
    try:
        done = attempt()
    except Exception as error:  # whatever it is, the report goes on
        return Verdict(use, False, f"{type(error).__name__}: {error}", "make setup")
    if openvino_available():
        return Verdict(use, True, done)
    return Verdict(use, True, f"{done}, by NNabla itself: slow", how_to_install())


def _ranks(found: Launcher) -> Verdict:
    use = "several ranks"
    if found.problem:
        step, installed = "pip install -r requirements.txt", bool(found.path)
        return Verdict(use, False, found.problem, step, installed)
    return Verdict(use, True, "mpirun -n 2 started two ranks that saw each other")


def _gpu(found: dict[str, Any]) -> Verdict:
    use = "NVIDIA GPU"
    if not extension_installed():
        step = "pip install -r requirements-cuda.txt, see docs/gpu.md"
        return Verdict(use, False, "not installed", step, installed=False)
    if found["problems"]:
        how = found["problems"][0]
        more = len(found["problems"]) - 1
        how += f" (and {more} more, see above)" if more else ""
        return Verdict(use, False, how, "see docs/gpu.md")
    usable = [one for one in found["devices"] if not one["problem"]]
    how = f"{len(usable)} usable with -c cudnn"
    if not all(one["half"] for one in usable):
        how += "; half precision saves memory only, there are no tensor cores"
    if any(one["translated"] for one in usable):
        how += "; newer than the libraries: untried, and the driver first translates their code"
    together = [found[name]["problem"] for name in ("mpi", "nccl") if found[name]["problem"]]
    if together:
        return Verdict(use, True, f"{how}, one at a time: {together[0]}", "see docs/gpu.md")
    return Verdict(use, True, how)


def told(report: dict[str, Any]) -> str:
    """The report for people."""
    cpu, ranks, gpu = report["cpu"], report["ranks"], report["gpu"]
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    precisions = [f"{p} (default)" if p == cpu["default"] else p for p in cpu["precisions"]]
    lines = [
        f"nnclip {report['nnclip']} on Python {report['python']}, {report['system']}",
        f"  packages      {packages}",
        "",
        f"Processor: {cpu['name']}, {cpu['cores']} cores for this process",
        f"  instructions  {' '.join(cpu['instructions']) or 'none that matter here'}",
        f"  precisions    {', '.join(precisions)}",
        "",
        "Several ranks",
        f"  launcher      {ranks['path'] or 'none'} {ranks['version'] and '- '}{ranks['version']}",
        f"  mpirun -n 2   {ranks['problem'] or 'works'}",
        "",
        "NVIDIA GPU",
        *_gpu_lines(gpu),
        "",
        "What works here",
    ]
    for one in report["verdicts"]:
        lines.append(f"  {'yes' if one['works'] else 'no':5}{one['use']:20} {one['how']}")
        if one["next"]:
            lines.append(f"{'':28}next: {one['next']}")
    return "\n".join(line.rstrip() for line in lines)


def _gpu_lines(gpu: dict[str, Any]) -> list[str]:
    extension, driver = gpu["extension"], gpu["driver"]
    lines = [f"  extension     {extension['version'] or extension['problem']}"]
    if not driver:
        return lines
    lines.append(f"  driver        {driver['problem'] or driver['version']}")
    for one in gpu["devices"]:
        capability = ".".join(map(str, one["capability"]))
        kinds = [name for name in ("half", "tf32") if one[name]]
        lines.append(
            f"  device        {one['name']}, compute capability {capability}, "
            f"{one['memory'] / 2**30:.0f} GiB, tensor cores for {' and '.join(kinds) or 'neither'}"
        )
    found = [one for one in gpu["libraries"] if one["path"]]
    if not extension["version"] and not found:
        lines.append(f"  libraries     none of {len(gpu['libraries'])}")
        return lines
    for one in [*gpu["libraries"], gpu["nccl"], gpu["mpi"]]:
        where = one["problem"] or f"{one['version']}  {one['path']}"
        lines.append(f"  {one['name']:<24}{where}")
    lines.append(f"  TF32          {'allowed' if gpu['tf32'] else 'off'}, unless asked for")
    return lines


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
