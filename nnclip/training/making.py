"""What a trainer is made of, from its settings: feeds and steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.distil import DistilledStep, Teach
from nnclip.training.examining import Judge
from nnclip.training.feed import Feed
from nnclip.training.model import Trainee, trains_statistics
from nnclip.training.step import ContrastiveStep, MakeStep, StepOptions


@dataclass(frozen=True)
class Company:
    """What a run is given beside its settings.

    Attributes:
        judges: the data sets of `--eval`.
        teach: the pairs -> what the teacher of `--distil` makes of them.
    """

    judges: Sequence[Judge] = ()
    teach: Teach | None = None


def feed_of(
    config: TrainConfig, trainee: Trainee, source: str, training: bool, company: Company
) -> Feed:
    """What makes batches of the pairs of a source; DataError where there are none."""
    model = trainee.weights.config
    context = config.context_length or model.text.context
    feed = Feed(config, source, model.image, model.text, trainee.tokenizer, context, training)
    if training and company.teach is not None:
        feed.teacher = company.teach(feed.table)
    return feed


def step_of(
    config: TrainConfig,
    trainee: Trainee,
    communicator: Communicator,
    maker: MakeStep,
    feed: Feed,
) -> ContrastiveStep:
    """What runs forward and backward passes."""
    weights = trainee.weights
    options = StepOptions(
        config.aggregate,
        config.micro_batch_size,
        config.recompute,
        trains_statistics(config, trainee.variables()),
    )
    parts = weights.config, weights.scope, communicator, maker, options
    if feed.teacher is not None:
        return DistilledStep(*parts, scale=feed.teacher.scale)
    return ContrastiveStep(*parts)
