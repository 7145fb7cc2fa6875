"""What a rank computes on: NNabla's context, cores, the compiler."""

import logging
import os
from dataclasses import dataclass

from nnclip.engine import available_precisions, default_precision, openvino_available
from nnclip.engine.cuda import extension_installed, gpu_context, load_extension
from nnclip.errors import ConfigError
from nnclip.extras import how
from nnclip.host import cores
from nnclip.nnabla import get_extension_context, nn
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.step import MakeStep, step_maker

logger = logging.getLogger(__name__)


def choose_context(wanted: str, tf32: bool = False) -> str:
    """`cpu` or `cudnn`: what is wanted, or what is there; loads the latter's extension.

    Called before MPI is: NNabla's CUDA extension crashes when MPI comes first.

    Args:
        wanted: `cpu`, `cudnn`, or nothing.
        tf32: let a GPU's float32 products round their factors to TF32.

    Raises:
        ConfigError: a GPU is wanted and cannot be used.
    """
    name = wanted or ("cudnn" if extension_installed() else "cpu")
    if name == "cpu":
        return name
    try:
        load_extension(name, tf32)
    except ConfigError as error:
        if not wanted:
            logger.warning("training on the CPU: %s", error)
            return "cpu"
        raise ConfigError(f"--context {name}: cannot be used here: {error}") from error
    return name


def enter_context(config: TrainConfig, name: str, communicator: Communicator) -> nn.Context:
    """Make everything that NNabla does from now on happen there; returns the context."""
    if name == "cpu":
        context = get_extension_context(name)
    else:
        device = communicator.local_rank if config.device_id < 0 else config.device_id
        exact = "tf32" if config.tf32 == "on" else "fp32"
        half = config.type_config == "half"
        context = gpu_context(f"{name}:{device}", "fp16" if half else exact)
    nn.set_default_context(context)
    return context


def threads_of(communicator: Communicator) -> int:
    """The cores of this rank: those that it is bound to, or its share of the host's."""
    bound, there = cores(), os.cpu_count() or 1
    share = max(1, there // communicator.local_size)
    if bound < share:
        logger.warning(
            "this rank may use %d of %d cores: let mpirun not bind it (--bind-to none)",
            bound,
            there,
        )
    return min(bound, share)


@dataclass(frozen=True)
class Engine:
    """How a rank computes its steps.

    Attributes:
        compiled: by OpenVINO; otherwise by NNabla.
        precision: of products: fp32, bf16 or fp16.
        threads: of a compiled step.
    """

    compiled: bool
    precision: str
    threads: int

    def step_maker(self) -> MakeStep:
        """What makes steps of graphs."""
        return step_maker(self.compiled, self.precision, self.threads)


def choose_engine(config: TrainConfig, context: str, communicator: Communicator) -> Engine:
    """The compiler on CPUs, NNabla itself elsewhere or where the settings say so.

    Raises:
        ConfigError: settings that contradict each other or what there is.
    """
    can, half = context == "cpu" and openvino_available(), config.type_config == "half"
    threads = threads_of(communicator)
    if config.engine == "compiled" and not can:
        raise ConfigError(f"--engine compiled: found context {context}, expected cpu with OpenVINO")
    if config.engine == "nnabla" or not can:
        if half and context == "cpu":
            raise ConfigError("--type-config half on a CPU needs the compiled step")
        if context == "cpu" and config.engine != "nnabla":
            logger.warning(
                "OpenVINO is not installed: NNabla trains instead, some 20 to 50 times slower (%s)",
                how(),
            )
        return Engine(False, "fp16" if half else "fp32", threads)
    if config.recompute:
        raise ConfigError(
            "--recompute: found the compiled step, expected NNabla's own (--engine nnabla); "
            "--micro-batch-size saves memory in both"
        )
    if half and "bf16" not in available_precisions():
        logger.warning("this processor has no bfloat16: training in float32")
    return Engine(True, default_precision() if half else "fp32", threads)
