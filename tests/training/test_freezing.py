"""What is frozen costs nothing: no gradient leaves the compiled step, no product computes one."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from nnclip.engine import Step, compile_step
from nnclip.engine.compiled_step import emit_step
from nnclip.errors import ConfigError
from nnclip.graph.config import ClipConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.model import freeze
from nnclip.training.step import ContrastiveStep, StepOptions


class Recorder:
    """Makes steps with the compiler, and keeps what each was made of."""

    def __init__(self) -> None:
        self.products: list[int] = []
        self.gradients: list[int] = []

    def __call__(self, inputs, outputs, parameters, *, of=("loss",), wrt=()) -> Step:
        model, _, trained, _ = emit_step(inputs, outputs, parameters, of, wrt)
        counts = Counter(node.get_type_name() for node in model.get_ordered_ops())
        self.products.append(counts["MatMul"])
        self.gradients.append(len(trained))
        assert len(model.outputs) == len(outputs) + len(wrt) + len(trained)
        return compile_step(inputs, outputs, parameters, of=of, wrt=wrt)


Frozen = Callable[[str, int], tuple[Recorder, ContrastiveStep]]


@pytest.fixture
def stepped(small_config: ClipConfig, rng: np.random.Generator) -> Frozen:
    """Runs one step of a model with frozen parameters, whole or in pieces."""
    ids_NL = np.array([[49406, 320, 1929, 49407, 0, 0]] * 4, np.int32)
    batch = Batch(rng.normal(size=(4, 3, 32, 32)).astype(np.float32), ids_NL)

    def run(patterns: str, micro_batch: int) -> tuple[Recorder, ContrastiveStep]:
        scope, recorder = make_parameters(small_config, seed=3), Recorder()
        freeze(flatten(scope), patterns)
        options = StepOptions(micro_batch=micro_batch)
        step = ContrastiveStep(small_config, scope, Alone(), recorder, options)
        step(batch)
        return recorder, step

    return run


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_gradients_of_frozen_parameters_are_not_computed(stepped: Frozen, micro_batch: int) -> None:
    everything, whole = stepped("", micro_batch)
    locked, step = stepped("image", micro_batch)
    head, _ = stepped("image,text", micro_batch)
    names = set(whole.trained)
    image = {name for name in names if name.startswith("visual/")}
    assert set(step.trained) == names - image
    assert sum(everything.gradients) == len(names)
    assert sum(locked.gradients) == len(names - image)
    assert sum(head.gradients) == 1
    forward = stepped("image,text", 0)[0].products[0]  # of both towers and the logits
    assert sum(everything.products) >= 2.5 * forward
    assert sum(locked.products) < 0.75 * sum(everything.products)
    assert sum(head.products) < 1.3 * forward


def test_a_frozen_block_in_the_middle_lets_gradients_through(stepped: Frozen) -> None:
    everything, _ = stepped("", 0)
    middle, step = stepped("visual/transformer/resblocks/1/*", 0)
    assert not any(name.startswith("visual/transformer/resblocks/1/") for name in step.trained)
    assert np.abs(step.trained["visual/conv1/W"].g).max() > 0
    assert sum(middle.products) < sum(everything.products)


def test_a_pattern_that_fits_nothing_is_told(small_config: ClipConfig) -> None:
    variables = flatten(make_parameters(small_config, seed=3))
    with pytest.raises(ConfigError, match="'vision' fits no parameter"):
        freeze(variables, "vision")
    with pytest.raises(ConfigError, match="nothing is left to train"):
        freeze(variables, "*")
