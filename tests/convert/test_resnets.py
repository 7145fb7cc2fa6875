"""ResNets on their way there and back: names, statistics, torchvision's towers."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.convert import h5_to_torch, torch_to_h5
from nnclip.convert.names import to_foreign, to_published
from nnclip.convert.openai import RESNET
from nnclip.convert.source import DIALECTS
from nnclip.convert.tensors import of_array
from nnclip.errors import CheckpointError
from nnclip.graph.torch_resnet import IMAGENET, TORCH_RESNETS
from nnclip.weights.h5 import read_h5
from nnclip.weights.tower import load_tower
from tests.convert.conftest import Sample, enlivened, openai_resnet_archive
from tests.lazy import lazy

torch = lazy("torch")
resnet = lazy("torchvision.models.resnet")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor:torch.jit.TracerWarning"),
]


def test_bn1_is_not_a_bias_of_n1():
    """A replacement of `b` by `bias` made `visual.biasn1.weight` of it."""
    names = {
        "visual/bn1/W": "visual.bn1.weight",
        "visual/bn1/b": "visual.bn1.bias",
        "visual/bn1/running_var": "visual.bn1.running_var",
        "visual/layer2/0/downsample/0/W": "visual.layer2.0.downsample.0.weight",
        "visual/layer2/3/bn3/b": "visual.layer2.3.bn3.bias",
        "visual/layer2/0/downsample/1/running_mean": "visual.layer2.0.downsample.1.running_mean",
    }
    published = {name: of_array(np.full(1, i, "f4")) for i, name in enumerate(names)}
    foreign = to_foreign(published, RESNET)
    assert list(foreign) == list(names.values())
    back = to_published(foreign, RESNET)
    assert {k: t.read().item() for k, t in back.items()} == {
        k: t.read().item() for k, t in published.items()
    }


@pytest.fixture(params=["resnet18", "resnet34", "resnet50"])
def tower(request, tmp_path) -> Sample:
    """A ResNet of torchvision, its classifier for three classes."""
    torch.manual_seed(0)
    model = getattr(resnet, request.param)(num_classes=3).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(0, 0.2)
    torch.save(model.state_dict(), tmp_path / f"{request.param}.pth")
    return Sample(model, tmp_path / f"{request.param}.pth", "torchvision")


def test_a_resnet_of_torchvision_becomes_a_tower_and_returns(tower, tmp_path, capsys):
    h5, back = tmp_path / "tower.h5", tmp_path / "back.pth.pt"
    words = [str(tower.path), str(h5), "--resolution", "64", "--verify"]
    assert torch_to_h5.main(words) == 0
    assert "image features differ by" in capsys.readouterr().out  # within the tolerance: status 0
    found, published = load_tower(h5), TORCH_RESNETS[tower.path.stem]
    assert (found.side, found.width) == ("image", published.features)
    assert (found.config.layers, found.config.resolution) == (published.layers, 64)
    assert found.config.preprocess.mean == IMAGENET.mean
    assert json.loads(found.metadata["dropped"])[-2:] == ["fc.weight", "fc.bias"]
    assert not found.variables()["visual/bn1/running_mean"].need_grad
    assert found.variables()["visual/bn1/W"].need_grad

    assert h5_to_torch.main([str(h5), str(back), "--dialect", "torchvision"]) == 0
    state, original = torch.load(back), tower.state()
    left_out = {n for n in original if n.startswith("fc.") or n.endswith("num_batches_tracked")}
    assert state.keys() == original.keys() - left_out
    assert all(torch.equal(state[name], original[name]) for name in state)


def test_a_converted_resnet_answers_in_every_precision(tmp_path):
    """Loaded like any other model; in int8 its scales come from the bundled images."""
    sample = openai_resnet_archive(tmp_path)
    torch_to_h5.convert_file(sample.path, tmp_path / "small.h5")
    pictures = [Image.new("RGB", (70, 64), colour) for colour in ("navy", "olive", "white")]
    for precision, least in (("fp32", 0.99999), ("int8", 0.95)):
        model = CLIP(tmp_path / "small.h5", precision=precision)
        images = np.stack([model.preprocess(picture) for picture in pictures])
        found = model.encode_image(images)
        with torch.no_grad():
            expected = sample.model.float().encode_image(torch.from_numpy(images)).numpy()
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        assert ((found * expected).sum(axis=1) / lengths).min() > least
    assert model.drift.least_cosine > 0.95


def test_a_tower_is_no_model_and_a_model_no_tower(small_h5, tmp_path):
    with pytest.raises(CheckpointError, match="found a whole model, but torchvision's code"):
        h5_to_torch.convert_h5(small_h5, tmp_path / "a.pt", DIALECTS["torchvision"])
    torch.save(resnet.resnet18().state_dict(), tmp_path / "resnet18.pth")
    torch_to_h5.convert_file(tmp_path / "resnet18.pth", tmp_path / "tower.h5")
    with pytest.raises(CheckpointError, match="found the image tower alone, but openai's code"):
        h5_to_torch.convert_h5(tmp_path / "tower.h5", tmp_path / "a.pt", DIALECTS["openai"])


def test_statistics_that_were_exchanged_are_seen(tmp_path, monkeypatch, capsys):
    """--verify compares features, so that a tower with other statistics is refused."""
    model = enlivened(torch.nn.ModuleDict({"visual": resnet.resnet18()}))["visual"]
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    right, one, other = DIALECTS["torchvision"], "visual/bn1/W", "visual/bn1/running_var"

    def exchanged(source):
        table = right.names.reading(source)
        return {**table, one: table[other], other: table[one]}

    names = dataclasses.replace(right.names, reading=exchanged)
    wrong = dataclasses.replace(right, names=names)
    words = [str(tmp_path / "resnet18.pth"), str(tmp_path / "a.h5"), "--verify"]
    words += ["--resolution", "64", "--dialect", "torchvision"]
    assert torch_to_h5.main(words) == 0
    monkeypatch.setitem(DIALECTS, "torchvision", wrong)
    assert torch_to_h5.main(words) == 2
    assert "differ from torch's by" in capsys.readouterr().err


def test_half_rounds_the_statistics_as_well(tmp_path):
    torch.save(resnet.resnet18().state_dict(), tmp_path / "resnet18.pth")
    torch_to_h5.convert_file(tmp_path / "resnet18.pth", tmp_path / "a.h5", half=True)
    assert (tmp_path / "a.h5").stat().st_size < 23e6
    assert read_h5(tmp_path / "a.h5").arrays["visual/bn1/running_var"].dtype == np.float32
