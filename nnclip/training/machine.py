"""What a rank computes on: NNabla's context, cores, the compiler."""

import importlib
import importlib.util
import logging
import os

import nnabla as nn
from nnabla.ext_utils import get_extension_context

from nnclip.engine import available_precisions, default_precision, openvino_available
from nnclip.errors import ConfigError
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.step import MakeStep, step_maker

logger = logging.getLogger(__name__)


def choose_context(wanted: str) -> str:
    """`cpu` or `cudnn`: what is wanted, or what is there; imports the latter's extension.

    Called before MPI is: NNabla's CUDA extension crashes when MPI comes first.

    Raises:
        ConfigError: the extension is not there, or cannot be imported.
    """
    there = importlib.util.find_spec("nnabla_ext.cudnn") is not None
    name = wanted or ("cudnn" if there else "cpu")
    if name == "cpu":
        return name
    try:
        importlib.import_module(f"nnabla_ext.{name}")
    except (ImportError, OSError) as error:
        if not wanted:
            logger.warning("no GPU (%s): training on the CPU", error)
            return "cpu"
        raise ConfigError(
            f"--context {name}: cannot be used here ({error}); install nnabla-ext-cuda and the "
            "NVIDIA libraries, or leave the flag out"
        ) from error
    return name


def enter_context(config: TrainConfig, name: str, communicator: Communicator) -> nn.Context:
    """Make everything that NNabla does from now on happen there; returns the context."""
    half = "half" if config.type_config == "half" and name != "cpu" else "float"
    device = communicator.local_rank if config.device_id < 0 else config.device_id
    context = get_extension_context(name, device_id=str(device), type_config=half)
    nn.set_default_context(context)
    return context


def threads_of(communicator: Communicator) -> int:
    """The cores of this rank: those that it is bound to, or its share of the host's."""
    bound, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    share = max(1, there // communicator.local_size)
    if bound < share:
        logger.warning(
            "this rank may use %d of %d cores: let mpirun not bind it (--bind-to none)",
            bound,
            there,
        )
    return min(bound, share)


def make_step_maker(config: TrainConfig, context: str, communicator: Communicator) -> MakeStep:
    """The compiler on CPUs, NNabla itself elsewhere or where the settings say so.

    Raises:
        ConfigError: a compiled step is asked for where there is none.
    """
    can = context == "cpu" and openvino_available()
    if config.engine == "compiled" and not can:
        raise ConfigError(f"--engine compiled: found context {context}, expected cpu with OpenVINO")
    half = config.type_config == "half"
    if config.engine == "nnabla" or not can:
        if half and context == "cpu":
            raise ConfigError("--type-config half on a CPU needs the compiled step")
        return step_maker(compiled=False)
    if config.recompute:
        logger.warning("--recompute is for NNabla's own step; here use --micro-batch-size")
    if half and "bf16" not in available_precisions():
        logger.warning("this processor has no bfloat16: training in float32")
    precision = default_precision() if half else "fp32"
    return step_maker(compiled=True, precision=precision, threads=threads_of(communicator))
