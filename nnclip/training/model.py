"""Which model a run trains: made from scratch, or loaded to go on from."""

import dataclasses
import fnmatch
import logging
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.graph.parameters import make_parameters, scope_of
from nnclip.graph.siglip import LOGIT_BIAS, LOGIT_SCALE
from nnclip.text import Tokenizer, load_tokenizer, openai_tokenizer, tokenizer_from_json
from nnclip.training.config import TrainConfig
from nnclip.training.sizes import named_size
from nnclip.weights.download import fetch
from nnclip.weights.model import ModelWeights, load_model, save_model

logger = logging.getLogger(__name__)

FINE_TUNING_RATE = 1e-4  # above it, fine-tuning forgets what the model knew


@dataclass(frozen=True)
class Trainee:
    """A model in training.

    Attributes:
        weights: what is saved.
        tokenizer: belongs to it.
        bias: of SigLIP's loss, which no model has as a tensor; None with CLIP's.
    """

    weights: ModelWeights
    tokenizer: Tokenizer
    bias: nn.Variable | None = None

    def variables(self) -> dict[str, nn.Variable]:
        """Name -> Variable of everything that may be trained."""
        bias = {} if self.bias is None else {"logit_bias": self.bias}
        return {**self.weights.variables(), **bias}

    def save(self, path: Path) -> None:
        """Write the model as `clip.load` reads it, its tokenizer and SigLIP's bias as metadata."""
        bias = {} if self.bias is None else {"logit_bias": float(self.bias.d)}
        save_model(path, self.weights, extra=bias)


def make_trainee(config: TrainConfig) -> Trainee:
    """The model that `config` asks for; the same on every rank.

    Raises:
        ConfigError: no such size, or settings that contradict each other.
        CheckpointError, DownloadError: the model to go on from cannot be had.
    """
    trainee = _loaded(config) if config.finetuning else _fresh(config)
    if config.loss == "sigmoid":
        trainee = _with_bias(trainee, begin=not config.finetuning)
    freeze(trainee.variables(), config.freeze)
    return trainee


def _with_bias(trainee: Trainee, begin: bool) -> Trainee:
    """With SigLIP's bias: the file's own, or its beginning and that of the scale."""
    value = trainee.weights.metadata.get("logit_bias", LOGIT_BIAS)
    if begin:
        trainee.weights.variables()["logit_scale"].d = LOGIT_SCALE
    bias = nn.Variable.from_numpy_array(np.array(value, np.float32), need_grad=True)
    return dataclasses.replace(trainee, bias=bias)


def _fresh(config: TrainConfig) -> Trainee:
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else openai_tokenizer()
    size = named_size(config.model)
    image = dataclasses.replace(size.image, resolution=config.image_size or size.image.resolution)
    text = dataclasses.replace(
        size.text,
        vocabulary=tokenizer.vocab_size,
        context=config.context_length or size.text.context,
    )
    size = dataclasses.replace(size, image=image, text=text)
    if image.resolution < image.patch:
        raise ConfigError(
            f"--image-size: found {image.resolution}, expected at least a patch ({image.patch})"
        )
    metadata = {"tokenizer": tokenizer.to_json()} if config.tokenizer else {}
    return Trainee(ModelWeights(size, make_parameters(size, config.seed), metadata), tokenizer)


def _loaded(config: TrainConfig) -> Trainee:
    if config.tokenizer:
        raise ConfigError("--tokenizer: a model to fine-tune has its own; leave the flag out")
    if config.lr > FINE_TUNING_RATE:
        logger.warning(
            "fine-tuning at a learning rate of %g: expect the model to forget what it knew; "
            "1e-5 or less is usual (--lr)",
            config.lr,
        )
    source = config.model_load_path
    path = Path(source) if source.endswith(".h5") or Path(source).is_file() else fetch(source)
    weights = resized(load_model(path), config.image_size)
    context = config.context_length
    if context > weights.config.text.context:
        raise ConfigError(
            f"--context-length: found {context}, expected at most the model's "
            f"{weights.config.text.context}"
        )
    stored = weights.metadata.get("tokenizer")
    tokenizer = tokenizer_from_json(stored, str(path)) if stored else openai_tokenizer()
    if tokenizer.vocab_size != weights.config.text.vocabulary:
        raise DataError(
            f"{path}: its table holds {weights.config.text.vocabulary} tokens, its vocabulary "
            f"{tokenizer.vocab_size}"
        )
    return Trainee(weights, tokenizer)


def resized(weights: ModelWeights, resolution: int) -> ModelWeights:
    """The model for pictures of another resolution: its positions are interpolated bicubically."""
    image = weights.config.image
    if resolution in (0, image.resolution):
        return weights
    old, new = image.resolution // image.patch, resolution // image.patch
    if new < 1:
        raise ConfigError(f"--image-size: found {resolution}, expected at least {image.patch}")
    variables = weights.variables()
    name = "visual/positional_embedding"
    positions = variables[name].d
    grid = positions[1:].reshape(old, old, -1)
    planes = [
        np.asarray(Image.fromarray(grid[:, :, i]).resize((new, new), Image.Resampling.BICUBIC))
        for i in range(grid.shape[2])
    ]
    rows = np.stack(planes, axis=-1).reshape(new * new, -1)
    variables[name] = nn.Variable.from_numpy_array(
        np.concatenate([positions[:1], rows]), need_grad=True
    )
    config = dataclasses.replace(
        weights.config, image=dataclasses.replace(image, resolution=resolution)
    )
    return ModelWeights(config, scope_of(variables), weights.metadata)


def freeze(variables: dict[str, nn.Variable], patterns: str) -> None:
    """Let parameters stay as they are: `need_grad` off.

    Args:
        variables: the model's, by name.
        patterns: comma-separated: `image`, `text`, or names with `*`.

    Raises:
        ConfigError: a pattern fits no parameter, or nothing is left to train.
    """
    image = {name for name in variables if name.startswith("visual/")}
    towers = {"image": image, "text": set(variables) - image - {"logit_scale", "logit_bias"}}
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
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
