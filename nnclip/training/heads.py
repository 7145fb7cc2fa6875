"""Training heads on frozen towers: the trainer's loop over cached features.

Axes: N batch, I and T width of the towers' features, S layers and E width of a head.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.graph.features import text_features
from nnclip.graph.heads import HeadConfig, head
from nnclip.graph.losses import scalar_names
from nnclip.graph.parameters import flatten, scope_of
from nnclip.graph.similarity import normalise
from nnclip.nnabla import F, nn
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.head_feed import FeatureFeed, FeaturePairs
from nnclip.training.model import Trainee
from nnclip.training.preflight import check_batch
from nnclip.training.step import ContrastiveStep, StepOptions
from nnclip.training.trainer import Trainer
from nnclip.training.validation import Embeddings
from nnclip.weights.heads import SCOPES, HeadWeights, save_head
from nnclip.weights.model import ModelWeights, save_model
from nnclip.weights.tower import side_of


@dataclass(frozen=True)
class HeadTask:
    """What heads learn.

    Attributes:
        pairs: to train on.
        held_out: to validate on; None for none.
        learns: the sides whose heads are trained.
        temperature: what cosines are divided by: None lets it be learned, 1 is the same as none.
        imitates: the images' features are a teacher's of texts, and the loss is how far the
            texts' embeddings are from its.
        tower: the text tower learns too, not only its head; then `pairs` hold texts, not features.
    """

    pairs: FeaturePairs
    held_out: FeaturePairs | None
    learns: tuple[str, ...] = ("image", "text")
    temperature: float | None = None
    imitates: bool = False
    tower: bool = False


def heads_of(weights: ModelWeights) -> dict[str, HeadConfig]:
    """Side -> head, for the sides that have one."""
    both = {"image": weights.config.image_head, "text": weights.config.text_head}
    return {side: config for side, config in both.items() if config is not None}


@dataclass(frozen=True)
class HeadTrainee(Trainee):
    """A model of which only what may be trained is held as Variables: the heads and the scalars.

    Attributes:
        trained: those, by name.
    """

    trained: Mapping[str, nn.Variable] = dataclasses.field(default_factory=dict)

    def variables(self) -> dict[str, nn.Variable]:
        """See `Trainee`: without the towers."""
        return dict(self.trained)

    def save(self, path: Path) -> None:
        """Write the whole model, and each head in a file of its own beside it."""
        # What this run did not train, another one may.
        heads = {
            name: nn.Variable.from_numpy_array(v.d, need_grad=True)
            for name, v in self.trained.items()
        }
        whole = {**self.weights.variables(), **heads}
        model = ModelWeights(self.weights.config, scope_of(whole), self.weights.metadata)
        save_model(path, model)
        self.save_heads(path.parent, "")

    def save_best(self, folder: Path) -> None:
        """Keep the heads, not the towers, which are large: unless one of them moves."""
        if any(map(side_of, self.trained)):
            self.save(folder / "best.h5")
        self.save_heads(folder, "-best")

    def save_heads(self, folder: Path, which: str) -> None:
        """Write `image_head{which}.h5` and `text_head{which}.h5`."""
        for side, config in heads_of(self.weights).items():
            scope = SCOPES[side]
            own = {k: v.d for k, v in self.trained.items() if k.startswith(scope + "/")}
            save_head(
                folder / f"{side}_head{which}.h5", HeadWeights(side, config, own, self.scorer())
            )


def head_trainee(trainee: Trainee, task: HeadTask) -> HeadTrainee:
    """The heads and the scalars of a model, ready to be trained as the task says."""
    weights, trained = trainee.weights, {}
    learns = {SCOPES[side] for side in task.learns}
    for name in flatten(weights.scope):
        moves = name.split("/")[0] in learns or (task.tower and side_of(name) == "text")
        moves = moves or (name in scalar_names() and not task.imitates)
        if moves or side_of(name) is None:
            variable = nn.Variable.from_numpy_array(np.array(weights.array(name)))
            variable.need_grad = moves
            trained[name] = variable
    if task.temperature is not None:
        trained["logit_scale"].d = -np.log(task.temperature)
        trained["logit_scale"].need_grad = False
    return HeadTrainee(weights, trainee.tokenizer, trained=trained)


class HeadStep(ContrastiveStep):
    """A step of which the towers are the heads alone, but for a text tower that gets ids."""

    def __init__(self, *arguments: Any, imitates: bool = False) -> None:
        """See `ContrastiveStep`; with `imitates`, see `HeadTask`."""
        super().__init__(*arguments)
        self._imitates = imitates

    def _towers(self, inputs: dict[str, nn.Variable], trained: bool) -> dict[str, nn.Variable]:
        config = self._config
        found: dict[str, nn.Variable] = {}
        if "ids" in inputs:
            found["text"] = text_features(inputs, config)
        for side, own in (("image", config.image_head), ("text", config.text_head)):
            if side in found:
                continue
            features = inputs[f"{side}_features"]
            if own is None or (self._imitates and side == "image"):
                found[side] = F.identity(features)
            else:
                found[side] = head(features, own, SCOPES[side], inputs.get(f"{side}_keep"))
        return found

    def _of_moving(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        still = {f"grad_{side}" for side in SCOPES if side not in self._moving}
        return {name: array for name, array in arrays.items() if name not in still}

    def _loss_graph(self, features: dict[str, nn.Variable], first: int) -> nn.Variable:
        if not self._imitates:
            return super()._loss_graph(features, first)
        gap_NE = normalise(features["image"]) - normalise(features["text"])
        return F.mean(F.sum(gap_NE**2, axis=1))


class HeadTrainer(Trainer):
    """One run that trains heads."""

    def __init__(
        self,
        config: TrainConfig,
        communicator: Communicator,
        context: str,
        model: Trainee,
        task: HeadTask,
    ) -> None:
        """See `Trainer`.

        Args:
            config: the settings; what they say of data and model counts for nothing.
            communicator: the ranks.
            context: `cpu` or `cudnn`.
            model: whose heads are trained.
            task: what they learn.
        """
        self._model, self._task = model, task
        named = dataclasses.replace(config, val="held out" if task.held_out else "")
        super().__init__(named, communicator, context)

    def _check_data(self) -> None:
        if not self._task.imitates:
            check_batch(self.config, self.communicator, len(self._task.pairs))

    def _make_trainee(self) -> HeadTrainee:
        return head_trainee(self._model, self._task)

    def _make_feed(self, source: str, training: bool) -> FeatureFeed:
        held_out = self._task.held_out
        table = self._task.pairs if training or held_out is None else held_out
        # A tower that learns from its teacher does so without dropout, on its head too.
        learns = () if self._task.tower else self._task.learns
        heads = {k: v for k, v in heads_of(self._model.weights).items() if k in learns}
        context = self._model.weights.config.text.context
        return FeatureFeed(table, heads, self.config.batch_size, self.config.seed, context)

    def _make_step(self) -> ContrastiveStep:
        config, imitates = self.config, self._task.imitates
        return HeadStep(
            self._model.weights.config,
            scope_of(self.trainee.variables()),
            self.communicator,
            self._engine.step_maker(),
            StepOptions(config.aggregate and not imitates, config.micro_batch_size),
            imitates=imitates,
        )

    def _judged(self, found: Embeddings) -> dict[str, float]:
        if not self._task.imitates:
            return super()._judged(found)
        gap_ME = found.image - found.text
        loss = float((gap_ME.astype(np.float64) ** 2).sum(axis=1).mean())
        return super()._judged(found) | {"validation_loss": loss}

    def _save(self) -> None:
        super()._save()
        if self.communicator.rank == 0:
            assert isinstance(self.trainee, HeadTrainee)
            self.trainee.save_heads(self.folder, "-last")
