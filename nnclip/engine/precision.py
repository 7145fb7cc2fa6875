"""Which number formats this processor multiplies natively."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from pathlib import Path

from nnclip.errors import ConfigError
from nnclip.extras import how

PRECISIONS = ("fp32", "bf16", "int8")
# By these, the first that is set, oneDNN (in OpenVINO and in torch) is held to older instructions.
HELD_BY = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
WITHOUT_VNNI = {"SSE41", "AVX", "AVX2", "AVX512_CORE"}
WITHOUT_BF16 = WITHOUT_VNNI | {"AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE_VNNI"}
CPUINFO = Path("/proc/cpuinfo")
# What OpenVINO is held to instead on a processor with AVX-512 (see `lift_hold`).
LIFTED = dict.fromkeys(("SSE41", "AVX", "AVX2"), "AVX512_CORE")
LIFTED |= dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), "AVX512_CORE_VNNI")

logger = logging.getLogger(__name__)


@functools.cache
def openvino_available() -> bool:
    """Tell whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def require_openvino() -> None:
    """Make sure that OpenVINO is installed.

    Raises:
        ConfigError: If it is not.
    """
    if not openvino_available():
        raise ConfigError(
            f"compiling needs OpenVINO, which is not installed; {how()}, or let NNabla run the "
            "graph (interpret_graph), some 20 to 50 times slower"
        )


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as the kernel lists them; empty where it does not."""
    return frozenset(_cpuinfo("flags").split())


def processor_name() -> str:
    """What the processor calls itself; empty where the kernel does not tell."""
    return _cpuinfo("model name")


@functools.cache
def _cpuinfo(key: str) -> str:
    """What the kernel says of the first processor; empty where it says nothing."""
    lines = (
        CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
        if CPUINFO.exists()
        else []
    )
    line = next((line for line in lines if line.startswith(key)), "")
    return line.partition(":")[2].strip()


def available_precisions() -> tuple[str, ...]:
    """Precisions that `compile_graph` takes on this processor, the exact one first.

    bf16 is listed only where the processor has instructions for it and oneDNN is not held to older
    ones: emulated, it would be some 25 times slower than fp32 and less exact.
    """
    native = _may_use({"amx_bf16", "avx512_bf16"}, WITHOUT_BF16)
    return tuple(p for p in PRECISIONS if p != "bf16" or native)


def sums_int8_exactly() -> bool:
    """Whether products of int8 are added up in 32 bits: VNNI. In 16 bits, large sums are cut."""
    return _may_use({"avx512_vnni", "avx_vnni", "amx_int8"}, WITHOUT_VNNI)


def _may_use(flags: set[str], lacking: set[str]) -> bool:
    """Whether the processor has one of these, and oneDNN is held to none of the levels without."""
    return bool(cpu_flags() & flags) and _held()[1] not in lacking


def _held() -> tuple[str, str]:
    """The variable that holds oneDNN to older instructions, and to which; empty where none does."""
    name = next((name for name in HELD_BY if os.environ.get(name)), "")
    return name, os.environ[name].upper() if name else ""


def lift_hold() -> None:
    """Hold OpenVINO to AVX-512 at least, on a processor that has it, and say so.

    Held to less there, OpenVINO 2026.4 mixes kernels of both kinds, and some end the process with a
    segmentation fault (an attention pool did). On processors without AVX-512 all are of one kind.
    Call this before OpenVINO's first compilation, when oneDNN reads the variable.
    """
    name, held = _held()
    if held in LIFTED and "avx512f" in cpu_flags():
        logger.warning(
            "%s=%s: found a processor with AVX-512, where OpenVINO crashes when it is held to "
            "less; it is held to %s",
            name,
            held,
            LIFTED[held],
        )
        os.environ[name] = LIFTED[held]


def default_precision() -> str:
    """`bf16` where the processor multiplies it natively, else `fp32`."""
    return "bf16" if "bf16" in available_precisions() else "fp32"


def check_precision(precision: str) -> str:
    """Give back a precision that works here.

    Raises:
        ConfigError: If it is unknown, or this processor lacks the instructions.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision not in available_precisions():
        raise ConfigError(
            f"precision {precision} needs a processor with AMX or AVX512-BF16, which this one is "
            f"not (or {HELD_BY[0]} holds it to less); choose one of "
            f"{', '.join(available_precisions())}"
        )
    return precision


def check_count(name: str, count: int | None) -> None:
    """Make sure that a number of threads or streams is one.

    Raises:
        ConfigError: If it is neither None nor an integer of at least 1.
    """
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ConfigError(f"{name} is {count!r}; expected an integer of at least 1, or None")
