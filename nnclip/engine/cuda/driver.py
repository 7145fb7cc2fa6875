"""The NVIDIA driver: its version, and the GPUs that it shows to this process."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from nnclip.engine.cuda.libraries import Finding, mapped_file

LIBRARY = "libcuda.so.1"
LEAST_CUDA = (12, 0)  # NNabla's extension is built with CUDA 12.0
LEAST_CAPABILITY, MOST_CAPABILITY = (6, 0), (9, 0)  # Pascal to Hopper: libraries hold their code
HALF_CAPABILITY, TF32_CAPABILITY = (7, 0), (8, 0)  # the first with tensor cores for them
NEW_DRIVER = "install a driver of version 525.60 or later"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # attributes of cuDeviceGetAttribute
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: as the driver calls it.
        capability: compute capability, (9, 0) for Hopper.
        memory: in bytes.
        problem: why NNabla cannot use it; empty where it can.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    problem: str = ""

    @property
    def translated(self) -> bool:
        """Whether the driver has to translate the libraries' code (PTX), since they lack its."""
        return self.capability > MOST_CAPABILITY

    @property
    def half(self) -> bool:
        """Whether it has tensor cores for float16."""
        return self.capability >= HALF_CAPABILITY

    @property
    def tf32(self) -> bool:
        """Whether it can round the factors of float32 products to TF32."""
        return self.capability >= TF32_CAPABILITY


@dataclass(frozen=True)
class Driver:
    """What the driver says of itself, and its GPUs."""

    finding: Finding
    devices: tuple[Device, ...] = ()

    @property
    def problems(self) -> list[str]:
        """A sentence for each thing that is wrong; none where one GPU at least can be used."""
        if self.finding.problem:
            return [self.finding.problem]
        wrong = [device.problem for device in self.devices if device.problem]
        return wrong if len(wrong) == len(self.devices) else []


def find_driver() -> Driver:
    """Ask the driver; never raises."""
    try:
        library = ctypes.CDLL(LIBRARY, ctypes.RTLD_GLOBAL | os.RTLD_LAZY)
    except OSError as error:
        why = f"no {LIBRARY}" if "No such file" in str(error) else error
        return _without(f"no NVIDIA driver ({why}): {NEW_DRIVER}; in a container, --gpus all")
    path = mapped_file(LIBRARY.removesuffix(".1"))
    try:
        return _ask(library, path)
    except AttributeError as error:
        return _without(f"{path} is no NVIDIA driver ({error}): {NEW_DRIVER}", path=path)


def _ask(library: ctypes.CDLL, path: str) -> Driver:
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    cuda = (number.value // 1000, number.value % 1000 // 10)
    version = " ".join(filter(None, [_kernel_module(), f"CUDA {cuda[0]}.{cuda[1]}"]))
    if cuda < LEAST_CUDA:
        return _without(
            f"the NVIDIA driver is for CUDA {cuda[0]}.{cuda[1]}, expected 12.0 or later: "
            f"{NEW_DRIVER}",
            version,
            path,
        )
    status = library.cuInit(0)
    library.cuDeviceGetCount(ctypes.byref(number))
    if status == NO_DEVICE or (status == 0 and number.value == 0):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f", and at CUDA_VISIBLE_DEVICES={visible}"
        return _without(
            f"the NVIDIA driver shows no GPU: look at nvidia-smi{hidden}", version, path
        )
    if status:
        return _without(
            f"the NVIDIA driver does not start ({_error_name(library, status)}): look at "
            "nvidia-smi; after an update of the driver, restart the machine",
            version,
            path,
        )
    devices = tuple(_device(library, ordinal) for ordinal in range(number.value))
    return Driver(Finding("driver", version, path), devices)


def _without(problem: str, version: str = "", path: str = "") -> Driver:
    return Driver(Finding("driver", version, path, problem))


def _device(library: ctypes.CDLL, ordinal: int) -> Device:
    handle, number = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDeviceGet(ctypes.byref(handle), ordinal)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), handle)
    capability = []
    for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
        library.cuDeviceGetAttribute(ctypes.byref(number), attribute, handle)
        capability.append(number.value)
    memory = ctypes.c_size_t(0)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    major, minor = capability
    problem = ""
    if (major, minor) < LEAST_CAPABILITY:
        problem = (
            f"{name.value.decode()} has compute capability {major}.{minor}, expected 6.0 (Pascal) "
            "or later"
        )
    return Device(name.value.decode(), (major, minor), memory.value, problem)


def _error_name(library: ctypes.CDLL, status: int) -> str:
    name = ctypes.c_char_p()
    library.cuGetErrorName(status, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {status}"


def _kernel_module() -> str:
    """The driver's own version, such as 550.54.15; empty where the kernel does not tell."""
    file = Path("/sys/module/nvidia/version")
    return file.read_text().strip() if file.is_file() else ""
