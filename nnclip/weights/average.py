"""Models averaged weight by weight: WiSE-FT of two, a soup of several.

Source: Robust fine-tuning of zero-shot models, arXiv:2109.01903; Model soups, arXiv:2203.05482.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.convolution import is_statistic
from nnclip.weights.model import ModelWeights, load_model

logger = logging.getLogger(__name__)


def interpolated(
    start: Mapping[str, np.ndarray], end: Mapping[str, np.ndarray], alpha: float
) -> dict[str, np.ndarray]:
    """(1 - alpha) * start + alpha * end, name by name; float32 of the same shapes."""
    a, b = np.float32(1 - alpha), np.float32(alpha)
    return {name: a * start[name] + b * array for name, array in end.items()}


def average(paths: Sequence[Path], alpha: float | None = None) -> ModelWeights:
    """One model of several that have grown from the same start.

    Args:
        paths: their files, two or more.
        alpha: of two, the share of the second; None for equal shares of all.

    Raises:
        ConfigError: too few files, or a share that cannot be.
        CheckpointError: a file is damaged, or its model has other tensors than the first.
    """
    if len(paths) < 2:
        raise ConfigError(f"MODELS: found {len(paths)}, expected two or more")
    if alpha is not None and (len(paths) != 2 or not 0 <= alpha <= 1):
        raise ConfigError(
            f"--alpha: found {alpha} with {len(paths)} models, expected 0 to 1 with two"
        )
    shares = [1 / len(paths)] * len(paths) if alpha is None else [1 - alpha, alpha]
    found = load_model(paths[0])
    variables = found.variables()
    _warn_of_statistics(variables)
    for variable in variables.values():
        variable.d = variable.d * np.float32(shares[0])
    for path, share in zip(paths[1:], shares[1:], strict=True):
        other = load_model(path)
        _check_kind(paths[0], found, path, other)
        for name, theirs in other.variables().items():
            variables[name].d = variables[name].d + np.float32(share) * theirs.d
    return found


def _check_kind(path: Path, model: ModelWeights, other_path: Path, other: ModelWeights) -> None:
    """CheckpointError where the mean of two models would mean nothing."""
    if other.config != model.config:
        raise CheckpointError(
            f"{other_path}: found {other.config.image.describe()}; {other.config.text.describe()}, "
            f"expected the towers of {path}: {model.config.image.describe()}; "
            f"{model.config.text.describe()}"
        )
    if other.metadata.get("tokenizer") != model.metadata.get("tokenizer"):
        raise CheckpointError(
            f"{other_path}: found another tokenizer than in {path}, expected the same: the tokens "
            "would mean different things"
        )


def _warn_of_statistics(names: Mapping[str, object]) -> None:
    if any(map(is_statistic, names)):
        logger.warning(
            "the running statistics of batch normalisations are averaged like weights: measure "
            "the result"
        )
