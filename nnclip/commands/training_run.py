"""`train.py`: what a trainer is given beside its settings, and the way in."""

import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nnclip.commands.cache_features import open_frozen
from nnclip.errors import ConfigError, NnclipError
from nnclip.evaluate import tasks
from nnclip.evaluate.captioned import CaptionedImages, read_captioned
from nnclip.evaluate.labelled import LabelledImages, read_labelled
from nnclip.evaluate.ranks import Ranks
from nnclip.evaluate.report import Record
from nnclip.files import shown
from nnclip.graph.losses import Scorer
from nnclip.preflight import check_folder
from nnclip.sources import Sample, open_stored
from nnclip.sources.check import check_images
from nnclip.text.prompts import TEMPLATES
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.data.decode import Recipe
from nnclip.training.data.pairs import PairTable
from nnclip.training.distil import Teach, Teacher, places
from nnclip.training.encoder import Encoder
from nnclip.training.features import FeatureCache
from nnclip.training.flags import parse_flags
from nnclip.training.heads import heads_of
from nnclip.training.launch import launch
from nnclip.training.machine import threads_of
from nnclip.training.making import Company
from nnclip.training.sizes import SIZES
from nnclip.training.trainer import Trainer

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say; returns the exit status."""
    try:
        config = parse_flags(argv)
    except NnclipError as error:
        print(shown(f"train.py: {error}"), file=sys.stderr, flush=True)
        return 2
    if config.model == "list":
        print("\n".join(SIZES))
        return 0
    return launch("train.py", config, make_trainer)


def make_trainer(config: TrainConfig, communicator: Communicator, context: str) -> Trainer:
    """The trainer of these settings, with its teacher and the data sets that it is measured on."""
    teach = teacher_of(config, communicator) if config.distil else None
    return Trainer(config, communicator, context, Company(judges_of(config, communicator), teach))


def teacher_of(config: TrainConfig, communicator: Communicator) -> Teach:
    """What makes a teacher's features of a table, once: they are kept on disk.

    Raises:
        ConfigError: the teacher has heads, or its folder cannot be written.
        CheckpointError, DownloadError: there is no such model.
    """
    model = open_frozen(config.distil)
    if heads_of(model.weights):
        raise ConfigError(
            f"--distil {config.distil}: found a model with heads, expected two towers"
        )
    workers = config.workers if config.workers >= 0 else threads_of(communicator)
    folder = Path(config.distil_cache or Path(config.monitor_path) / "features")
    if communicator.rank == 0:
        check_folder(folder, "--distil-cache")
    cache = FeatureCache(folder, workers=workers, complete=communicator.size > 1)

    def teach(table: PairTable) -> Teacher:
        grouped, image_of, first_text = places(table)
        scale = math.exp(float(model.weights.array("logit_scale")))
        if config.dry_run:  # a step takes as long whatever the teacher says
            logger.info("--dry-run: the teacher's features are not computed")
            embed = model.weights.config.embed
            counts = len(grouped), sum(1 for _ in grouped.captions())
            rows = [np.broadcast_to(np.float32(1), (count, embed)) for count in counts]
            return Teacher(table, rows[0], rows[1], image_of, first_text, scale)
        recipe = Recipe(model.weights.config.image.preprocess, None, config.decoding)
        images = cache.images(grouped, recipe, model.image())
        texts = cache.texts(list(grouped.captions()), model.text())
        return Teacher(table, images.rows, texts.rows, image_of, first_text, scale)

    return teach


Data = LabelledImages | CaptionedImages


@dataclass(frozen=True)
class DataSetJudge:
    """Measures a model in training on a data set; see `training.examining.Judge`.

    Attributes:
        name: what its numbers begin with.
        data: the images.
        measure: what is measured.
        config: says how images are decoded.
    """

    name: str
    data: Data
    measure: Callable[[tasks.Subject, Data], Record]
    config: TrainConfig

    def __call__(
        self, encoder: Encoder, scorer: Scorer, communicator: Communicator
    ) -> dict[str, float]:
        """See `Judge`."""
        opened = partial(open_stored, preprocess=encoder.preprocess, decoding=self.config.decoding)
        subject = tasks.Subject(
            encoder.images,
            encoder.texts,
            scorer,
            ranks=Ranks(communicator),  # type: ignore[arg-type]
            batch=encoder.batch,
            open_image=opened,
        )
        metrics = self.measure(subject, self.data)["metrics"]
        return {f"{self.name}_{metric}": float(value) for metric, value in metrics.items()}


def _zero_shot(subject: tasks.Subject, data: Data) -> Record:
    assert isinstance(data, LabelledImages)
    return tasks.zero_shot(subject, data, TEMPLATES["plain"])[1]


def _retrieval(subject: tasks.Subject, data: Data) -> Record:
    assert isinstance(data, CaptionedImages)
    return tasks.retrieval(subject, data)[0][0]


KINDS: dict[str, tuple[Callable[[Path], Data], Callable[[tasks.Subject, Data], Record]]] = {
    "zero-shot": (read_labelled, _zero_shot),
    "retrieval": (read_captioned, _retrieval),
}


def judges_of(config: TrainConfig, communicator: Communicator) -> list[DataSetJudge]:
    """What `--eval` asks for, with a sample of the images decoded.

    Raises:
        ConfigError: no such kind of evaluation.
        DataError: no such data set, or none of its images can be read.
    """
    asked = [_parsed(text) for text in config.eval]
    judges = []
    for text, (kind, path), name in zip(config.eval, asked, _names(asked), strict=True):
        read, measure = KINDS[kind]
        data = read(path)
        if communicator.rank == 0:
            images = data.sources if isinstance(data, LabelledImages) else data.paths
            stored = [it if isinstance(it, Sample) else Sample(str(it)) for it in images]
            check_images(stored, f"--eval {text}")
        judges.append(DataSetJudge(name, data, measure, config))
    return judges


Asked = tuple[str, Path]  # kind, data set


def _parsed(text: str) -> Asked:
    kind, _, path = text.partition(":")
    if kind not in KINDS or not path:
        raise ConfigError(
            f"--eval: found {text!r}, expected {' or '.join(f'{one}:PATH' for one in KINDS)}"
        )
    return kind, Path(path)


def _names(asked: Sequence[Asked]) -> list[str]:
    """What to call evaluations: by the last part of each path, or more where two would be alike.

    zero-shot of a/test and b/test -> ["zero_shot_a_test", "zero_shot_b_test"]
    """
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for _, path in asked), default=0) + 1):
        parts = [(kind, *path.parts[-depth:-1], path.stem) for kind, path in asked]
        names = ["_".join(part).replace("-", "_") for part in parts]
        if len(set(names)) == len(names):
            return names
    if names:
        raise ConfigError(f"--eval: found the same twice among {', '.join(names)}")
    return names
