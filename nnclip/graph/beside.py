"""The inputs of a text tower's graph, and the only place where texts are cut to their longest.

Axes: N batch, L tokens.
"""

from collections.abc import Mapping

import numpy as np

from nnclip.errors import DataError
from nnclip.graph.towers import TextTower
from nnclip.nnabla import PythonFunction, nn


def empty_inputs(tower: TextTower, batch: int, length: int | None = None) -> dict[str, nn.Variable]:
    """Variables without a value for all that the graph of the tower reads, by name.

    Args:
        tower: the tower.
        batch: N.
        length: L; None for the shortest that the tower can have.

    Raises:
        DataError: the tower sees padding, and this is not its context.
    """
    if length is None:
        length = 1 if tower.trims else tower.context
    _check_length(tower, length)
    return {name: nn.Variable((batch, length)) for name in ("ids", *tower.beside)}


def _check_length(tower: TextTower, length: int) -> None:
    if length != tower.context and not tower.trims:
        raise DataError(
            f"ids: found {length} tokens a row, expected all {tower.context}, since this text "
            f"tower sees padding: fill up with {tower.pad}"
        )


def text_inputs(ids_NL: np.ndarray, tower: TextTower) -> dict[str, np.ndarray]:
    """The arrays that the graph of the tower reads, by name; DataError if ids hold no text.

    Args:
        ids_NL: integers, L at most the context; a tower that sees padding gets them filled up to
            its context.
        tower: the tower.

    Returns: `ids`, and an (N, L) array for each name of `TextTower.beside`.
    """
    short = tower.context - ids_NL.shape[1]
    if not tower.trims and short > 0:
        around = (short, 0) if getattr(tower, "pad_left", False) else (0, short)
        ids_NL = np.pad(ids_NL, ((0, 0), around), constant_values=tower.pad)
    return {"ids": ids_NL, **{name: make(ids_NL) for name, make in tower.beside.items()}}


def used_columns(inputs: Mapping[str, np.ndarray], tower: TextTower) -> np.ndarray:
    """How many columns of `text_inputs` each text needs, (N,): the others change no feature."""
    rows, columns = inputs["ids"].shape
    if not tower.trims:
        return np.full(rows, columns)
    return (np.arange(1, columns + 1) * (inputs[tower.trims] != 0)).max(axis=1, initial=1)


class Beside(PythonFunction):
    """`text_inputs` as a function of a graph; nothing flows back through it.

    It also refuses ids outside the vocabulary, for which `F.embed` silently gives zeros.
    """

    def __init__(self, tower: TextTower) -> None:
        super().__init__(nn.Context(["cpu:float"], "CpuCachedArray", "0"))
        self._tower = tower

    @property
    def name(self) -> str:
        return type(self).__name__

    def min_outputs(self) -> int:
        return 1 + len(self._tower.beside)

    def setup_impl(self, inputs: list[nn.Variable], outputs: list[nn.Variable]) -> None:
        for output in outputs:
            output.reset_shape(inputs[0].shape, True)

    def forward_impl(self, inputs: list[nn.Variable], outputs: list[nn.Variable]) -> None:
        ids_NL, vocabulary = inputs[0].d.astype(np.int64), self._tower.vocabulary
        if ids_NL.min() < 0 or ids_NL.max() >= vocabulary:
            raise DataError(
                f"ids: found {ids_NL.min()} to {ids_NL.max()}, expected 0 to {vocabulary - 1}"
            )
        for array, output in zip(text_inputs(ids_NL, self._tower).values(), outputs, strict=True):
            output.d = array

    def backward_impl(self, *_: object) -> None:
        pass

    def grad_depends_output_data(self, i: int, o: int) -> bool:
        return False

    def grad_depends_input_data(self, i: int, j: int) -> bool:
        return False


def text_variables(ids_NL: nn.Variable, tower: TextTower) -> dict[str, nn.Variable]:
    """`text_inputs` of a Variable: part of a graph; DataError unless L is one of the tower's."""
    _check_length(tower, ids_NL.shape[1])
    found = Beside(tower)(ids_NL)
    outputs = found if isinstance(found, list | tuple) else [found]
    return dict(zip(("ids", *tower.beside), outputs, strict=True))
