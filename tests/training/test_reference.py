"""Sixty steps beside open_clip's loss and torch's AdamW, from the same parameters."""

import re

import nnabla as nn
import numpy as np
import pytest
from nnabla.ext_utils import get_extension_context

from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.solvers import make_optimiser
from nnclip.training.step import ContrastiveStep, StepOptions, step_maker

CONFIG = ClipConfig(
    embed=32,
    image=VitConfig(Preprocess(16), 8, BlockConfig(64, 2, 1, 256)),
    text=TextConfig(100, 12, BlockConfig(64, 2, 1, 256)),
)
STEPS, ROWS, RATE = 60, 8, 1e-3
SETTINGS = TrainConfig(lr=RATE, weight_decay=0.2, eps=1e-6)


def batch(rng: np.random.Generator) -> Batch:
    ids_NL = rng.integers(1, 98, (ROWS, 12), dtype=np.int32)
    ids_NL[:, 0] = 98
    for row, end in enumerate(rng.integers(3, 12, ROWS)):
        ids_NL[row, end:] = 0
        ids_NL[row, end] = 99
    return Batch(rng.normal(size=(ROWS, 3, 16, 16)).astype(np.float32), ids_NL)


def torch_name(name: str) -> str:
    dotted = re.sub(r"(attn/in_proj)_W", r"\1_weight", name)
    dotted = re.sub(r"(attn/in_proj)_b", r"\1_bias", dotted)
    return re.sub(r"/b$", "/bias", re.sub(r"/W$", "/weight", dotted)).replace("/", ".")


def open_clip_run(
    start: dict[str, np.ndarray], batches: list[Batch]
) -> tuple[list[float], dict[str, np.ndarray]]:
    import open_clip
    import torch

    vision = {"layers": 2, "width": 64, "head_width": 64, "patch_size": 8, "image_size": 16}
    text = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 1, "layers": 2}
    model = open_clip.model.CLIP(32, vision, text, quick_gelu=True)
    state = {torch_name(k): torch.tensor(v) for k, v in start.items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown and set(missing) <= {"attn_mask"}
    loss_of = open_clip.ClipLoss()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}],
        lr=RATE, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    losses = []
    for one in batches:
        optimiser.zero_grad()
        image, text_features, scale = model(torch.tensor(one.images), torch.tensor(one.ids).long())
        loss = loss_of(image, text_features, scale)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    found = model.state_dict()
    return losses, {k: found[torch_name(k)].numpy() for k in start}


@pytest.mark.torch
@pytest.mark.parametrize("micro_batch", [0, 2])
def test_sixty_steps_are_open_clips(rng: np.random.Generator, micro_batch: int) -> None:
    scope = make_parameters(CONFIG, seed=3)
    variables = flatten(scope)
    start = {name: v.d.copy() for name, v in variables.items()}
    batches = [batch(rng) for _ in range(STEPS)]
    step = ContrastiveStep(
        CONFIG, scope, Alone(), step_maker(compiled=True), StepOptions(micro_batch=micro_batch)
    )
    optimiser = make_optimiser(SETTINGS, variables, on_cpu=True)
    losses = []
    for one in batches:
        losses.append(step(one).loss)
        optimiser.update(RATE)
    expected_losses, expected = open_clip_run(start, batches)
    assert losses == pytest.approx(expected_losses, rel=0, abs=1e-4)
    for name, value in expected.items():
        # a key's bias has no gradient but rounding, which Adam makes as large as any other
        difference = np.array(variables[name].d - value)
        if name.endswith("in_proj_b"):
            difference[64:128] = 0
        assert np.linalg.norm(difference) <= 1e-3 * np.linalg.norm(value), name


def test_in_nnablas_half_precision_texts_still_end_where_they_end(
    rng: np.random.Generator, small_config: ClipConfig
) -> None:
    """The ids 49406 and 49407 both round to 49408 in float16: an argmax there finds the start."""
    assert len({np.float16(i) for i in (49406, 49407)}) == 1
    ids_NL = np.array([[49406, 320, 1929, 49407, 0, 0], [49406, 320, 2368, 49407, 0, 0]], np.int32)
    one = Batch(rng.normal(size=(2, 3, 32, 32)).astype(np.float32), ids_NL)
    found = []
    for kind in ("float", "half"):
        with nn.context_scope(get_extension_context("cpu", type_config=kind)):
            scope = make_parameters(small_config, seed=3)
            step = ContrastiveStep(small_config, scope, Alone(), step_maker(compiled=False))
            text = step.features(one)[1].astype(np.float32)
            found.append(text / np.linalg.norm(text, axis=1, keepdims=True))
    assert (found[0][0] * found[0][1]).sum() < 0.99  # a dog is not a cat
    np.testing.assert_allclose(found[1], found[0], atol=5e-3)


def test_half_precision_trains_texts_as_float_does(rng: np.random.Generator) -> None:
    """bfloat16 where the processor has it; the loss is the one of float32 within 1 %."""
    from nnclip.engine import default_precision

    found = {}
    one = batch(rng)
    for precision in ("fp32", default_precision()):
        scope = make_parameters(CONFIG, seed=3)
        step = ContrastiveStep(CONFIG, scope, Alone(), step_maker(True, precision))
        optimiser = make_optimiser(SETTINGS, flatten(scope), on_cpu=True)
        losses = []
        for _ in range(10):
            losses.append(step(one).loss)
            optimiser.update(RATE)
        found[precision] = losses
    for losses in found.values():
        assert losses[-1] < 0.5 * losses[0]
        assert losses == pytest.approx(found["fp32"], rel=0.02, abs=0.02)


def test_scaled_gradients_are_the_gradients_times_the_scale(rng: np.random.Generator) -> None:
    one = batch(rng)
    for micro_batch in (0, 2):
        scope = make_parameters(CONFIG, seed=3)
        options = StepOptions(micro_batch=micro_batch)
        step = ContrastiveStep(CONFIG, scope, Alone(), step_maker(compiled=True), options)
        gradients = []
        for scale in (1.0, 1024.0):
            step(one, scale)
            gradients.append({k: v.g / scale for k, v in step.trained.items()})
        for name, gradient in gradients[0].items():
            np.testing.assert_allclose(gradients[1][name], gradient, rtol=1e-4, atol=1e-7)


def test_recomputed_activations_give_the_same_gradients(rng: np.random.Generator) -> None:
    one, gradients = batch(rng), []
    for recompute in (False, True):
        scope = make_parameters(CONFIG, seed=3)
        options = StepOptions(recompute=recompute)
        step = ContrastiveStep(CONFIG, scope, Alone(), step_maker(compiled=False), options)
        step(one)
        gradients.append({k: v.g.copy() for k, v in step.trained.items()})
    assert not nn.Variable((1,)).recompute
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradients[1][name], gradient)
