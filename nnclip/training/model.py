"""Which model a run trains: made from scratch, or loaded to go on from."""

import dataclasses
import fnmatch
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.convolution import is_statistic
from nnclip.graph.losses import LOSSES, Scorer
from nnclip.graph.parameters import expected_shapes, flatten, make_parameters, scope_of
from nnclip.graph.towers import at_resolution, for_tokens
from nnclip.nnabla import nn
from nnclip.text import AnyTokenizer, load_tokenizer, openai_tokenizer
from nnclip.training.config import TrainConfig
from nnclip.training.sizes import named_size
from nnclip.weights.finding import find_model
from nnclip.weights.lora import Rank, base_digest, merged, save_adapters, with_adapters
from nnclip.weights.model import ModelWeights, check_names_and_shapes, load_model, save_model
from nnclip.weights.tower import side_of

logger = logging.getLogger(__name__)

FINE_TUNING_RATE = 1e-4  # above it, fine-tuning forgets what the model knew


@dataclass(frozen=True)
class Trainee:
    """A model in training.

    Attributes:
        weights: what is saved.
        tokenizer: belongs to it.
    """

    weights: ModelWeights
    tokenizer: AnyTokenizer

    def variables(self) -> dict[str, nn.Variable]:
        """Name -> Variable of everything that may be trained."""
        return self.weights.variables()

    def scorer(self) -> Scorer:
        """The loss, and the values that its scalars have now."""
        loss, variables = LOSSES[self.weights.config.loss], self.variables()
        return Scorer(loss, {name: float(variables[name].d) for name in loss.scalars})

    def size(self) -> int:
        """Bytes of the model's file, about."""
        return 4 * sum(int(np.prod(v.shape)) for v in flatten(self.weights.scope).values())

    def save(self, path: Path) -> None:
        """Write the model as `clip.load` reads it, its tokenizer as metadata."""
        save_model(path, self.weights)

    def save_best(self, folder: Path) -> None:
        """Keep the model as the best one so far of a run."""
        self.save(folder / "best.h5")


def make_trainee(config: TrainConfig) -> Trainee:
    """The model that `config` asks for; the same on every rank.

    Raises:
        ConfigError: no such size, or settings that contradict each other.
        CheckpointError, DownloadError: the model to go on from is not there.
    """
    trainee = _loaded(config) if config.finetuning else _fresh(config)
    if config.lora:
        trainee = _adapted(trainee, config)
    freeze(trainee.variables(), config.freeze)
    return trainee


@dataclass(frozen=True)
class AdaptedTrainee(Trainee):
    """A model of which adapters are trained.

    Attributes:
        base: `base_digest` of the model.
    """

    base: str = ""

    def save(self, path: Path) -> None:
        """Write the model with its adapters merged, and beside it the adapters alone."""
        save_model(path, merged(self.weights))
        save_adapters(path.with_name(f"{path.stem}-lora.h5"), self.weights, self.base)


def _adapted(trainee: Trainee, config: TrainConfig) -> AdaptedTrainee:
    rank = Rank.parse(config.lora)
    base = base_digest(trainee.weights)
    weights = with_adapters(trainee.weights, rank, config.lora_target, config.seed)
    return AdaptedTrainee(weights, trainee.tokenizer, base)


def with_loss(weights: ModelWeights, name: str) -> ModelWeights:
    """The model with the scalars of another loss; those that both losses have keep their values.

    Args:
        weights: the model.
        name: of the loss; "" for the model's own.
    """
    if name in ("", weights.config.loss):
        return weights
    old, new = LOSSES[weights.config.loss].scalars, LOSSES[name].scalars
    variables = weights.variables()
    for scalar in old.keys() - new.keys():
        value = float(variables.pop(scalar).d)
        logger.warning("--loss %s has no %s: the model's, %.4g, is dropped", name, scalar, value)
    for scalar in new.keys() - old.keys():
        begin = np.array(new[scalar], np.float32)
        variables[scalar] = nn.Variable.from_numpy_array(begin, need_grad=True)
    config = dataclasses.replace(weights.config, loss=name)
    return ModelWeights(config, scope_of(variables), weights.metadata)


def _fresh(config: TrainConfig) -> Trainee:
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else openai_tokenizer()
    size = named_size(config.model)
    image = at_resolution(size.image, config.image_size or size.image.resolution)
    context = config.context_length or size.text.context
    text = for_tokens(size.text, tokenizer.vocab_size, context)
    loss = config.loss or size.loss
    size = dataclasses.replace(size, image=image, text=text, loss=loss)
    metadata = {"tokenizer": tokenizer.to_json()} if config.tokenizer else {}
    try:
        text.tokenizer(metadata, config.model)
    except CheckpointError as error:
        raise ConfigError(
            f"--model {config.model}: found a text tower whose tokenizer comes with its file, "
            "expected one for byte-level BPE; convert that file and go on from it with -ft"
        ) from error
    return Trainee(ModelWeights(size, make_parameters(size, config.seed), metadata), tokenizer)


def _loaded(config: TrainConfig) -> Trainee:
    if config.tokenizer:
        raise ConfigError("--tokenizer: a model to fine-tune has its own; leave the flag out")
    path = find_model(config.model_load_path)
    weights = with_loss(resized(load_model(path), config.image_size), config.loss)
    if config.lr > FINE_TUNING_RATE and not config.lora and not is_fresh(weights.variables()):
        logger.warning(
            "fine-tuning at a learning rate of %g: expect the model to forget what it knew; "
            "1e-5 or less is usual (--lr)",
            config.lr,
        )
    frozen = [n for n, v in weights.variables().items() if not (v.need_grad or is_statistic(n))]
    if frozen:
        logger.warning(
            "%s: %d tensors stay as they are, such as %s: they were frozen when it was trained "
            "(--freeze none trains them too)",
            path,
            len(frozen),
            frozen[0],
        )
    context = config.context_length
    if context > weights.config.text.context:
        raise ConfigError(
            f"--context-length: found {context}, expected at most the model's "
            f"{weights.config.text.context}"
        )
    tokenizer = weights.config.text.tokenizer(weights.metadata, path)
    return Trainee(weights, tokenizer)


def is_fresh(variables: Mapping[str, nn.Variable]) -> bool:
    """Whether a model has never been trained: the gains of its norms are all as they begin."""
    gains = [v.d for name, v in variables.items() if name.endswith("/W") and v.ndim == 1]
    return bool(gains) and all((gain == gain[0]).all() for gain in gains)


def resized(weights: ModelWeights, resolution: int) -> ModelWeights:
    """The model for images of another resolution.

    Its positions, where its image tower has any, are interpolated bicubically.

    Raises:
        ConfigError: the tower cannot have that resolution.
    """
    old = weights.config.image
    if resolution in (0, old.resolution):
        return weights
    new = at_resolution(old, resolution)
    variables = weights.variables()
    if positions := old.positions:
        table = variables[positions.name]
        variables[positions.name] = nn.Variable.from_numpy_array(
            positions.resized(table.d, resolution // new.stride), need_grad=table.need_grad
        )
    config = dataclasses.replace(weights.config, image=new)
    try:
        check_names_and_shapes({k: v.shape for k, v in variables.items()}, expected_shapes(config))
    except CheckpointError as error:
        raise ConfigError(
            f"--image-size: found {resolution}, but this image tower is made for "
            f"{old.resolution} pixels ({error}); leave the flag out"
        ) from error
    return ModelWeights(config, scope_of(variables), weights.metadata)


def trains_statistics(config: TrainConfig, variables: dict[str, nn.Variable]) -> bool:
    """Whether batch normalisations normalise with the statistics of each batch, and move their own.

    From scratch they do. When fine-tuning, those of a file are better than what a small batch
    says, and images mean the same alone and in a batch; with a frozen tower nothing may move.
    """
    names = [name for name in variables if is_statistic(name)]
    layers = {name.rpartition("/")[0] for name in names}
    moving = any(variables[f"{layer}/W"].need_grad for layer in layers)
    if config.batch_norm == "auto":
        return moving and not config.finetuning
    return moving and config.batch_norm == "trained"


def freeze(variables: dict[str, nn.Variable], patterns: str) -> None:
    """Let parameters stay as they are: `need_grad` off.

    Args:
        variables: the model's, by name.
        patterns: comma-separated: `image`, `text`, or names with `*`; `none` first unfreezes
            what a file has frozen.

    Raises:
        ConfigError: a pattern fits no parameter, or nothing is left to train.
    """
    towers = {side: {n for n in variables if side_of(n) == side} for side in ("image", "text")}
    wanted = [part.strip() for part in patterns.split(",") if part.strip()]
    if wanted[:1] == ["none"]:
        for name, variable in variables.items():
            variable.need_grad = not is_statistic(name)
    for pattern in wanted[wanted[:1] == ["none"] :]:
        names = towers.get(pattern) or set(fnmatch.filter(variables, pattern))
        if not names:
            raise ConfigError(
                f"--freeze: {pattern!r} fits no parameter; expected image, text or names such as "
                "visual/transformer/resblocks/0/*"
            )
        for name in names:
            variables[name].need_grad = False
    if not any(variable.need_grad for variable in variables.values()):
        raise ConfigError("--freeze: nothing is left to train")
