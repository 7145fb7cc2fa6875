"""Long-CLIP as its authors save it: two tables of positions, each masked."""

import numpy as np
import pytest

from nnclip.convert import torch_to_h5
from nnclip.convert.openai import openai_code
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.errors import CheckpointError
from nnclip.model import CLIP
from tests.lazy import lazy

torch = lazy("torch")
pytestmark = pytest.mark.torch
CONTEXT, KEPT = 30, 20


@pytest.fixture
def saved(tmp_path):
    """OpenAI's model, and the file of a Long-CLIP with its other tensors."""
    torch.manual_seed(6)
    model = openai_code().CLIP(32, 16, 2, 64, 8, CONTEXT, 49408, 64, 1, 2).eval()
    other = torch.randn(CONTEXT, 64)
    torch.save({**model.state_dict(), "positional_embedding_res": other}, tmp_path / "long.pt")
    return model, other, tmp_path / "long.pt"


def test_features_are_those_of_the_masked_tables(saved, tmp_path):
    model, other, path = saved
    assert torch_to_h5.main([str(path), str(tmp_path / "long.h5"), "--verify"]) == 0
    ours = CLIP(tmp_path / "long.h5", precision="fp32")
    ids = ours.tokenize(["a cat", "a photo of a very long street with many red cars " * 2])
    masks = torch.zeros(2, CONTEXT, 1)
    masks[0, :KEPT], masks[1, KEPT:] = 1, 1
    with torch.no_grad():
        model.positional_embedding.mul_(masks[0]).add_(other * masks[1])
        wanted = model.encode_text(torch.from_numpy(ids)).numpy()
    found = ours.encode_text(ids)
    assert (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max() < 2e-5


def test_tables_that_do_not_belong_together_are_refused(saved, tmp_path):
    _, other, path = saved
    torch.save({**torch.load(path), "positional_embedding_res": other[:25]}, path)
    with pytest.raises(CheckpointError, match="expected tables of one shape with at least 20 rows"):
        convert_file(path, tmp_path / "long.h5")
