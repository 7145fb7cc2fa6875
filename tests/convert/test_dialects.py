"""Every dialect: read, compared with its own code, written back to the bit, read by its own code.

The tolerance is for float32; features are compared relative to their norm.
"""

import dataclasses
import json
import zipfile

import h5py
import nnabla as nn
import numpy as np
import pytest

from nnclip.assets import asset
from nnclip.convert import h5_to_torch, torch_to_h5
from nnclip.convert.answers import inputs_of
from nnclip.convert.source import DIALECTS, open_source, sha256_of
from nnclip.weights.known import BUNDLED
from nnclip.weights.model import load_model
from tests.lazy import lazy

safetensors_torch = lazy("safetensors.torch")
torch = lazy("torch")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),  # OpenAI's archives are such
    pytest.mark.filterwarnings("ignore:Converting a tensor:torch.jit.TracerWarning"),
]
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def converted(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("h5") / "converted.h5"
    words = [str(sample.path), str(path), "--dialect", "auto", *sample.arguments]
    assert torch_to_h5.main(words) == 0
    return path


def bits(tensors):
    """Name -> type, shape and bytes: what must not change."""
    return {
        name: (t.dtype, t.shape, t.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, t in tensors.items()
    }


def stored_in(path):
    """The learned tensors of a checkpoint as torch itself reads them."""
    if path.is_dir() and (files := sorted(path.glob("*.safetensors"))):
        state = {name: t for file in files for name, t in safetensors_torch.load_file(file).items()}
    elif path.is_dir():
        state = torch.load(path / "pytorch_model.bin")
    else:
        is_archive = zipfile.is_zipfile(path) and any(
            "/code/" in name for name in zipfile.ZipFile(path).namelist()
        )
        state = torch.jit.load(path).state_dict() if is_archive else torch.load(path)
    state = state.get("state_dict", state)
    return {name.removeprefix("module."): t for name, t in state.items()}


def test_features_equal_those_of_the_original_code(sample, converted, differences):
    assert max(differences(sample.model, converted)) < TOLERANCE


def test_there_and_back_is_the_same_to_the_bit(sample, converted, tmp_path):
    back = tmp_path / "back.pt"
    words = [str(converted), str(back), "--dialect", sample.dialect, "--half"]
    assert h5_to_torch.main(words) == 0
    original = stored_in(sample.path)
    dropped = json.loads(load_model(converted).metadata["dropped"])
    assert set(dropped) <= original.keys()
    expected = {name: t for name, t in original.items() if name not in dropped}
    assert bits(stored_in(back)) == bits(expected)


def test_the_file_says_where_it_came_from(sample, converted):
    metadata = load_model(converted).metadata
    opened = open_source(sample.path)
    assert metadata["dialect"] == sample.dialect
    assert metadata["source"] == sample.path.name
    assert metadata["sha256"] == sha256_of(opened.files)


def test_nnabla_itself_reads_the_file(sample, converted):
    with nn.parameter_scope("", scope={}):
        nn.load_parameters(str(converted))
        found = nn.get_parameters(grad_only=False)
        with h5py.File(converted) as file:
            assert len(found) == len(load_model(converted).variables())
            np.testing.assert_array_equal(found["visual/conv1/W"].d, file["visual/conv1/W"])


@pytest.mark.parametrize("dialect", ["openai", "open_clip", "huggingface"])
def test_other_code_reads_what_is_written(dialect, archive, tmp_path, differences):
    """From OpenAI's archive into each dialect, into the code that belongs to it."""
    h5 = tmp_path / "archive.h5"
    torch_to_h5.convert_file(archive.path, h5)
    folder = tmp_path / "written"
    destination = folder / "state.pt" if dialect == "openai" else folder
    h5_to_torch.convert_h5(h5, destination, DIALECTS[dialect])
    model = LOADERS[dialect](folder, archive)
    assert max(differences(model.eval(), h5)) < TOLERANCE


def test_a_vocabulary_that_the_other_code_cannot_keep_is_named(tmp_path, caplog):
    assert (
        h5_to_torch.main([str(asset(BUNDLED)), str(tmp_path / "a"), "--dialect", "open_clip"]) == 0
    )
    assert "the model's own vocabulary, but open_clip's code knows only CLIP's" in caplog.text
    assert not (tmp_path / "a" / "tokenizer.json").exists()


def test_a_bias_on_the_logits_is_kept_both_ways(tmp_path, open_clip_sigmoid):
    import open_clip

    from nnclip.clip import CLIP

    h5, folder = tmp_path / "model.h5", tmp_path / "written"
    state = open_clip_sigmoid.state()
    for name in ("logit_scale", "logit_bias"):
        state[name] = state[name][None]  # as open_clip's nonscalar_logit_scale and SigLIP have it
    torch.save(state, tmp_path / "flat.pt")
    settings = ["--config", str(open_clip_sigmoid.path / "open_clip_config.json")]
    words = ["--dialect", "open_clip", *settings]
    assert torch_to_h5.main([str(tmp_path / "flat.pt"), str(h5), *words]) == 0
    ours = CLIP(h5, precision="fp32")
    assert (ours.scorer.loss.name, ours.logit_bias) == ("sigmoid", -4.5)
    images, ids = inputs_of(ours.config, 3)
    expected = open_clip_sigmoid.model.get_logits(torch.from_numpy(images), torch.from_numpy(ids))
    found = ours.logits(images, ids)[0]
    np.testing.assert_allclose(found, expected[0].detach().numpy(), atol=1e-3)
    assert h5_to_torch.main([str(h5), str(folder), "--dialect", "open_clip"]) == 0
    back = open_clip.create_model(f"local-dir:{folder}")
    assert back.logit_bias.item() == -4.5


@pytest.mark.parametrize("dialect", ["openai", "huggingface"])
def test_a_dialect_without_a_bias_is_refused_by_name(dialect, sigmoid_h5, tmp_path, capsys):
    words = [str(sigmoid_h5), str(tmp_path / "out.pt"), "--dialect", dialect]
    assert h5_to_torch.main(words) == 2
    said = capsys.readouterr().err
    assert f"found logit_bias of the sigmoid loss, but {dialect}'s code has no such" in said
    assert "use --dialect open_clip" in said


def load_openai(folder, archive):
    archive.model.load_state_dict(torch.load(folder / "state.pt"))
    return archive.model


def load_open_clip(folder, archive):
    import open_clip

    return open_clip.create_model(f"local-dir:{folder}")


def load_huggingface(folder, archive):
    from transformers import CLIPImageProcessor, CLIPModel

    assert CLIPImageProcessor.from_pretrained(folder).crop_size == {"height": 16, "width": 16}
    return CLIPModel.from_pretrained(folder)


LOADERS = {"openai": load_openai, "open_clip": load_open_clip, "huggingface": load_huggingface}


def test_half_stores_half_as_much(archive, tmp_path, differences):
    for name, words in (("whole.h5", []), ("half.h5", ["--half"])):
        assert torch_to_h5.main([str(archive.path), str(tmp_path / name), *words]) == 0
    whole, half = ((tmp_path / name).stat().st_size for name in ("whole.h5", "half.h5"))
    assert half < 0.51 * whole
    assert max(differences(archive.model, tmp_path / "half.h5")) < 5e-3


def test_all_of_float16_is_the_same_after_half_there_and_half_back(tmp_path, archive):
    state = {name: tensor.half() for name, tensor in archive.model.state_dict().items()}
    torch.save(state, tmp_path / "half.pt")
    h5, back = tmp_path / "half.h5", tmp_path / "back.safetensors"
    words = ["--dialect", "openai", "--half"]
    assert torch_to_h5.main([str(tmp_path / "half.pt"), str(h5), *words]) == 0
    assert h5_to_torch.main([str(h5), str(back), *words]) == 0
    assert bits(safetensors_torch.load_file(back)) == bits(state)


def test_verify_prints_the_largest_difference(sample, tmp_path, capsys):
    words = [str(sample.path), str(tmp_path / "out.h5"), "--verify", *sample.arguments]
    assert torch_to_h5.main(words) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    for line, tower in zip(last, ("image", "text"), strict=True):
        found = line.removeprefix(f"verified  {tower} features differ by ").split()[0]
        assert float(found) < TOLERANCE


def exchanged(table, one, other):
    """The table with two rules in each other's place."""
    return {**table, one: table[other], other: table[one]}


def queries_for_keys(table):
    name = "transformer/resblocks/{}/attn/in_proj_W"
    q, k, v = table[name].parts
    return {**table, name: dataclasses.replace(table[name], parts=(k, q, v))}


def damaged(dialect, damage):
    """The dialect with its table changed."""
    names = dialect.names
    wrong = dataclasses.replace(names, reading=lambda source: damage(names.reading(source)))
    return dataclasses.replace(dialect, names=wrong)


@pytest.mark.parametrize(
    "damage",
    [
        queries_for_keys,
        lambda t: exchanged(t, "visual/ln_pre/W", "visual/ln_post/W"),
        lambda t: exchanged(
            t, "transformer/resblocks/{}/ln_1/W", "transformer/resblocks/{}/ln_2/W"
        ),
    ],
    ids=["queries", "norms around the tower", "norms of a block"],
)
def test_a_broken_rule_is_seen(damage, huggingface, tmp_path, monkeypatch, differences):
    """A table with one rule broken gives a file of the right shapes and other features."""
    right = DIALECTS["huggingface"]
    h5 = tmp_path / "right.h5"
    torch_to_h5.convert_file(huggingface.path, h5, dialect="huggingface")
    assert max(differences(huggingface.model, h5)) < TOLERANCE

    wrong = damaged(right, damage)
    monkeypatch.setitem(DIALECTS, "huggingface", wrong)
    h5 = tmp_path / "wrong.h5"
    torch_to_h5.convert_file(huggingface.path, h5, dialect="huggingface")
    assert max(differences(huggingface.model, h5)) > 100 * TOLERANCE


def test_verify_refuses_what_differs(huggingface, tmp_path, monkeypatch, capsys):
    right = DIALECTS["huggingface"]
    wrong = damaged(right, queries_for_keys)
    monkeypatch.setitem(DIALECTS, "huggingface", wrong)
    words = [str(huggingface.path), str(tmp_path / "wrong.h5"), "--verify"]
    words += ["--dialect", "huggingface"]
    assert torch_to_h5.main(words) == 2
    assert "differ from torch's by" in capsys.readouterr().err
