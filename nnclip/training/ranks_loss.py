"""The loss of a batch that several ranks, or several pieces, make together, and its gradients.

Axes: N this rank's batch, M all ranks' batches, E embedding.

Each rank computes only its own rows. What it needs of the others is gathered, or, where the loss of
a rank's rows is a sum over the texts of each rank, passed around: then no rank ever holds more
than (N, N) logits. What flows back to the others is summed at them, so that the gradient of each
rank's own features is exactly that of the whole batch's loss.

Source of the passing around: Sigmoid Loss for Language Image Pre-Training, section 3.3.
"""

from collections.abc import Callable, Mapping

import numpy as np

from nnclip.engine.memory import float_memory
from nnclip.graph.losses import Loss
from nnclip.nnabla import nn
from nnclip.training.communicator import Communicator

SIDES = ("image", "text")
TARGET = "target_"  # what inputs without a gradient begin with
Found = tuple[float, np.ndarray, np.ndarray]  # mean loss, gradients of image and text features
Run = Callable[..., dict[str, np.ndarray]]


class RanksLoss:
    """Computes it from features.

    Attributes:
        asked: the sides whose features of all ranks are gathered.
    """

    def __init__(
        self,
        kind: Loss,
        communicator: Communicator,
        shares: bool,
        scalars: Mapping[str, nn.Variable],
        program: Callable[[int, tuple[str, ...]], Run],
    ) -> None:
        """Prepare.

        Args:
            kind: the loss.
            communicator: the ranks.
            shares: whether pairs are contrasted over the ranks.
            scalars: of the loss; those that are trained get gradients.
            program: row of this rank's first pair among the texts, in batches; inputs whose
                gradients are wanted -> what runs the loss.
        """
        self._communicator, self._scalars = communicator, scalars
        self._chunks = shares and kind.chunks
        self.asked = kind.gathers if shares else ()
        first = communicator.rank if self.asked else 0
        self._own = program(first, (*SIDES, *(f"all_{side}" for side in self.asked)))
        self._others = program(1, SIDES) if self._chunks else self._own

    def __call__(
        self,
        image: np.ndarray,
        text: np.ndarray,
        scale: float,
        targets: Mapping[str, np.ndarray],
    ) -> Found:
        """The mean loss over the ranks, and the gradients of this rank's features.

        Args:
            image: (N, E) features.
            text: (N, E) features.
            scale: the gradients are those of the loss times this.
            targets: more inputs, without gradients.
        """
        passes = self._passed_around if self._chunks else self._gathered
        value, d_image, d_text = passes(image, text, targets)
        share = np.float32(scale / self._communicator.size)  # the loss is the mean over the ranks
        for scalar in self._scalars.values():
            if scalar.need_grad:
                float_memory(scalar.grad)[...] *= share
        loss = np.array(value, np.float64).reshape(1)
        self._communicator.sum_array(loss)
        return float(loss[0]) / self._communicator.size, d_image * share, d_text * share

    def _gathered(
        self, image: np.ndarray, text: np.ndarray, targets: Mapping[str, np.ndarray]
    ) -> Found:
        communicator, arrays = self._communicator, {"image": image, "text": text}
        others = {f"all_{side}": communicator.gather_rows(arrays[side]) for side in self.asked}
        found = self._own(arrays | others | dict(targets))
        gradients = {side: found[f"grad_{side}"] for side in SIDES}
        own = slice(communicator.rank * len(image), (communicator.rank + 1) * len(image))
        for side in self.asked:
            everyone = found[f"grad_all_{side}"]
            communicator.sum_array(everyone)
            gradients[side] += everyone[own]
        return float(found["loss"]), gradients["image"], gradients["text"]

    def _passed_around(
        self, image: np.ndarray, text: np.ndarray, targets: Mapping[str, np.ndarray]
    ) -> Found:
        """Texts and their gradients go from rank to rank until they are home again."""
        value, d_image, d_texts = 0.0, np.zeros_like(image), np.zeros_like(text)
        texts = np.ascontiguousarray(text)
        for hop in range(self._communicator.size):
            run = self._others if hop else self._own
            found = run({"image": image, "text": texts} | dict(targets), accumulate=hop > 0)
            value += float(found["loss"])
            d_image += found["grad_image"]
            d_texts += found["grad_text"]
            both = self._communicator.passed_on(np.stack([texts, d_texts]))
            texts, d_texts = both[0], both[1]
        return value, d_image, d_texts
