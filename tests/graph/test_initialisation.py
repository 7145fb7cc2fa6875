"""Fresh parameters: distributed as OpenAI's code makes them, and the same for the same seed."""

import re
from collections import defaultdict

import nnabla as nn
import numpy as np
import pytest

from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from tests.graph.torch_reference import openai_model, torch_name
from tests.lazy import lazy

torch = lazy("torch")

pytestmark = pytest.mark.torch

# Large enough for a spread to be measured, no two numbers alike that a rule could depend on.
MIDDLE = ClipConfig(
    embed=160,
    image=VitConfig(preprocess=Preprocess(96), patch=12, blocks=BlockConfig(256, 4, 4, 1024)),
    text=TextConfig(vocabulary=3000, context=50, blocks=BlockConfig(192, 3, 3, 768)),
)


def by_kind(arrays):
    """One long row for each kind of tensor; the blocks of a tower are of one kind."""
    rows = defaultdict(list)
    for name, array in arrays.items():
        rows[re.sub(r"resblocks/\d+/", "resblocks/*/", name)].append(np.ravel(array))
    return {kind: np.concatenate(parts) for kind, parts in rows.items()}


def values(seed):
    return {name: v.d.copy() for name, v in flatten(make_parameters(MIDDLE, seed)).items()}


def test_every_kind_of_tensor_is_distributed_as_openai_makes_it():
    found = values(seed=7)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = dict(openai_model(MIDDLE).named_parameters())
    assert {torch_name(name) for name in found} == set(theirs)
    expected = by_kind({name: theirs[torch_name(name)].detach().numpy() for name in found})
    for kind, row in by_kind(found).items():
        wanted, sigmas = expected[kind], 4 / np.sqrt(row.size)  # of two measured spreads
        if np.ptp(wanted) == 0:  # gains, biases that begin at 0, the scale
            np.testing.assert_allclose(row, wanted, rtol=1e-6, err_msg=kind)
            continue
        assert abs(row.std() / wanted.std() - 1) < sigmas, kind
        assert abs(row.mean() - wanted.mean()) < 1.5 * sigmas * wanted.std(), kind
        # A uniform distribution ends at 1.73 of its spread, a normal one far beyond.
        ends = [np.abs(x).max() / x.std() for x in (row, wanted)]
        assert (ends[0] < 1.85) == (ends[1] < 1.85), kind


def test_the_seed_decides_every_drawn_value():
    first, again, other = values(1), values(1), values(2)
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
        drawn = np.ptp(array) > 0
        assert not drawn or np.mean(other[name] == array) < 0.01, name


def test_no_two_tensors_begin_alike():
    rows = {name: v.ravel()[:8].tobytes() for name, v in values(1).items() if np.ptp(v) > 0}
    assert len(set(rows.values())) == len(rows)


def test_the_users_own_random_numbers_and_parameters_stay_as_they_were():
    generator, state = nn.random.prng, nn.random.prng.get_state()
    ours = nn.get_parameters(grad_only=False)
    make_parameters(MIDDLE, seed=1)
    assert nn.random.prng is generator
    np.testing.assert_array_equal(generator.get_state()[1], state[1])
    assert generator.get_state()[2:] == state[2:]
    assert nn.get_parameters(grad_only=False) == ours
