"""NNabla; or, where it is not installed, what records the same graphs for the compiler.

NNabla has wheels for Python 3.10 at most. The towers import it from here, so that other Pythons
answer by the same source: `nnclip.nnabla.recorder` offers what they use. What needs NNabla itself
(Variables with values, gradients, training, NVIDIA GPUs, NNP files) calls `require_nnabla` first.
"""

from nnclip.errors import ConfigError
from nnclip.extras import how

try:
    import nnabla as nn
    import nnabla.functions as F
    from nnabla.ext_utils import get_extension_context
    from nnabla.function import Function, PythonFunction
    from nnabla.initializer import (
        BaseInitializer,
        ConstantInitializer,
        NormalInitializer,
        UniformInitializer,
    )
    from nnabla.parameter import get_parameter, get_parameter_or_create

    INSTALLED = True
except ImportError as _error:
    if (_error.name or "").split(".")[0] != "nnabla":
        raise  # NNabla is there, and something that it needs is not
    from nnclip.nnabla import recorder as nn
    from nnclip.nnabla.recorder import (
        Function,
        PythonFunction,
        get_extension_context,
    )
    from nnclip.nnabla.recorder import (
        functions as F,
    )
    from nnclip.nnabla.recorder.parameter import (
        BaseInitializer,
        ConstantInitializer,
        NormalInitializer,
        UniformInitializer,
        get_parameter,
        get_parameter_or_create,
    )

    INSTALLED = False

__all__ = [
    "INSTALLED",
    "BaseInitializer",
    "ConstantInitializer",
    "F",
    "Function",
    "NormalInitializer",
    "PythonFunction",
    "UniformInitializer",
    "get_extension_context",
    "get_parameter",
    "get_parameter_or_create",
    "nn",
    "require_nnabla",
]


def require_nnabla(what: str) -> None:
    """Make sure that NNabla is installed; ConfigError that names `what` needs it if it is not."""
    if not INSTALLED:
        raise ConfigError(
            f"{what} needs NNabla, which is not installed; {how('train')} under Python 3.10"
        )
