"""What a text tower reads beside the ids: computed from them in integers, outside the graph.

Axes: N batch, L tokens.
"""

import numpy as np

from nnclip.errors import DataError
from nnclip.graph import bert
from nnclip.graph.bert import BertConfig
from nnclip.graph.config import AnyTextConfig
from nnclip.graph.text import end_of_text
from nnclip.nnabla import PythonFunction, nn


def names_beside(config: AnyTextConfig) -> tuple[str, ...]:
    """The names of the inputs that the graph of the tower has beside `ids`."""
    if isinstance(config, BertConfig):
        return ("mask", "positions") if config.first_position else ("mask",)
    return ("end",)


def empty_inputs(config: AnyTextConfig, batch: int, length: int) -> dict[str, nn.Variable]:
    """Variables without a value for all that the graph of the tower reads, by name."""
    return {name: nn.Variable((batch, length)) for name in ("ids", *names_beside(config))}


def text_inputs(ids_NL: np.ndarray, config: AnyTextConfig) -> dict[str, np.ndarray]:
    """The arrays that the graph of the tower reads, by name; DataError if ids hold no text.

    Args:
        ids_NL: integers.
        config: the tower.

    Returns: `ids`, and (N, L) arrays for `names_beside`: `end`, 1 at each text's end-of-text
        token; or `mask`, 1 for each token that is no padding, and `positions` where they are
        counted without padding.
    """
    if isinstance(config, BertConfig):
        return {"ids": ids_NL, **bert.beside_ids(ids_NL, config)}
    return {"ids": ids_NL, "end": end_of_text(ids_NL)}


def used_columns(inputs: dict[str, np.ndarray]) -> int:
    """How many columns of `text_inputs` are read: the others change no feature."""
    read_NL = inputs["mask"] if "mask" in inputs else inputs["end"]
    return int(read_NL.any(axis=0).nonzero()[0].max(initial=0)) + 1


class Beside(PythonFunction):
    """`text_inputs` without the ids, as a function of a graph; nothing flows back through it.

    It also refuses ids outside the vocabulary, for which `F.embed` silently gives zeros.
    """

    def __init__(self, config: AnyTextConfig) -> None:
        super().__init__(nn.Context(["cpu:float"], "CpuCachedArray", "0"))
        self._config, self._names = config, names_beside(config)

    @property
    def name(self) -> str:
        return type(self).__name__

    def min_outputs(self) -> int:
        return len(self._names)

    def setup_impl(self, inputs: list[nn.Variable], outputs: list[nn.Variable]) -> None:
        for output in outputs:
            output.reset_shape(inputs[0].shape, True)

    def forward_impl(self, inputs: list[nn.Variable], outputs: list[nn.Variable]) -> None:
        ids_NL, vocabulary = inputs[0].d.astype(np.int64), self._config.vocabulary
        if ids_NL.min() < 0 or ids_NL.max() >= vocabulary:
            raise DataError(
                f"ids: found {ids_NL.min()} to {ids_NL.max()}, expected 0 to {vocabulary - 1}"
            )
        found = text_inputs(ids_NL, self._config)
        for name, output in zip(self._names, outputs, strict=True):
            output.d = found[name]

    def backward_impl(self, *_: object) -> None:
        pass

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False


def text_variables(ids_NL: nn.Variable, config: AnyTextConfig) -> dict[str, nn.Variable]:
    """`text_inputs` of a Variable: part of a graph."""
    found = Beside(config)(ids_NL)
    outputs = found if isinstance(found, list | tuple) else [found]
    return {"ids": ids_NL, **dict(zip(names_beside(config), outputs, strict=True))}
