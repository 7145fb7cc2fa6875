"""Text encoders in every layout: read, compared with transformers, written back to the bit."""

import json
import shutil

import nnabla as nn
import numpy as np
import pytest

from nnclip.convert import h5_to_torch, torch_to_h5
from nnclip.errors import CheckpointError
from nnclip.graph.beside import text_inputs
from nnclip.graph.parameters import building
from nnclip.weights.tower import load_tower
from tests.convert.encoder_samples import SAMPLES, bert, m_clip, sentence_transformers
from tests.lazy import lazy

safetensors_torch = lazy("safetensors.torch")
torch = lazy("torch")
transformers = lazy("transformers")

pytestmark = pytest.mark.torch
TEXTS = ["a dog on the grass", "собака", "ein hund, perros und 犬", "a"]
TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request, tmp_path_factory):
    return SAMPLES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def converted(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("h5") / "tower.h5"
    assert torch_to_h5.main([str(sample.path), str(path), *sample.arguments]) == 0
    return path


def features_of(h5, texts):
    """By the tokenizer that the file carries and its tower, in NNabla."""
    tower = load_tower(h5)
    ids = tower.config.tokenizer(tower.metadata, h5)(texts, tower.config.context)
    inputs = text_inputs(ids, tower.config).items()
    with building(tower.scope):
        variables = {k: nn.Variable.from_numpy_array(a) for k, a in inputs}
        features = tower.config.build(variables, tower.width)
    features.forward()
    return features.d.copy()


def test_features_equal_those_of_transformers(sample, converted):
    wanted, found = sample.features(TEXTS), features_of(converted, TEXTS)
    assert found.shape == wanted.shape
    norms = np.linalg.norm(wanted, axis=1, keepdims=True)
    assert (np.abs(found - wanted) / norms).max() < TOLERANCE


def test_verify_compares_with_transformers(sample, tmp_path, capsys):
    words = [str(sample.path), str(tmp_path / "out.h5"), "--verify", *sample.arguments]
    assert torch_to_h5.main(words) == 0
    (line,) = [n for n in capsys.readouterr().out.splitlines() if n.startswith("verified")]
    found = line.removeprefix("verified  text features differ by ").split()[0]
    assert float(found) < TOLERANCE


def bits(tensors):
    return {
        name: (t.dtype, t.shape, t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, t in tensors.items()
    }


def test_there_and_back_is_the_same_to_the_bit_and_transformers_reads_it(
    sample, converted, tmp_path
):
    dialect = load_tower(converted).metadata["dialect"]
    words = [str(converted), str(tmp_path / "back"), "--dialect", dialect, "--half"]
    if sample.projection is not None:
        assert h5_to_torch.main(words) == 2  # transformers has no place for it
        return
    assert h5_to_torch.main(words) == 0
    back = safetensors_torch.load_file(tmp_path / "back" / "model.safetensors")
    if sample.plain:
        dropped = json.loads(load_tower(converted).metadata["dropped"])
        original = safetensors_torch.load_file(sample.path / "model.safetensors")
        assert set(dropped) <= original.keys()
        assert bits(back) == bits({k: t for k, t in original.items() if k not in dropped})
    own = sample.encoder.state_dict()
    assert bits({k: t.float() for k, t in back.items()}) == bits({k: own[k] for k in back})
    read = transformers.AutoModel.from_pretrained(tmp_path / "back", dtype=torch.float32).eval()
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        found, wanted = (model(ids).last_hidden_state for model in (read, sample.encoder))
    assert torch.equal(found, wanted)
    original = next(sample.path.rglob("tokenizer.json"))
    assert (tmp_path / "back" / "tokenizer.json").read_text() == original.read_text()


def test_the_length_of_texts_is_what_the_source_says(tmp_path):
    """128 by default, less where there are fewer positions, as sentence-transformers says, as we
    say."""
    (tmp_path / "b").mkdir()
    for sample, words, expected in (
        (bert(tmp_path / "a"), [], 40),
        (bert(tmp_path / "a"), ["--context", "12"], 12),
        (sentence_transformers(tmp_path / "b"), [], 24),
        (m_clip(tmp_path / "c"), [], 38),
    ):
        assert torch_to_h5.main([str(sample.path), str(tmp_path / "out.h5"), *words]) == 0
        assert load_tower(tmp_path / "out.h5").config.context == expected


@pytest.fixture
def folder(tmp_path):
    return bert(tmp_path / "bert").path


def refused(folder, expected, **options):
    with pytest.raises(CheckpointError, match=expected) as caught:
        torch_to_h5.convert_file(folder, folder.parent / "out" / "out.h5", **options)
    assert folder.name in str(caught.value)
    assert not (folder.parent / "out").exists()


def changed(file, **settings):
    """A JSON file with some of its settings changed."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def test_a_folder_without_one_of_its_files(folder):
    for name, expected in (
        ("tokenizer.json", r"AutoTokenizer.*writes one"),
        ("config.json", "found no config.json beside it"),
        ("model.safetensors", "found none of .*model.safetensors"),
    ):
        shutil.copytree(folder, folder.parent / "copy")
        (folder.parent / "copy" / name).unlink()
        refused(folder.parent / "copy", expected)
        shutil.rmtree(folder.parent / "copy")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"model_type": "mpnet"},
            "the model_type 'mpnet', which nnclip does not know; of text encoders",
        ),
        ({"position_embedding_type": "relative_key"}, "found position_embedding_type"),
        ({"hidden_act": "mish"}, "bert_activation: found 'mish'"),
        ({"num_attention_heads": 7}, "bert_heads: found 7, expected a divisor"),
        ({"pad_token_id": "none"}, "pad_token_id: found 'none', expected an integer"),
        ({"pad_token_id": 99}, "found 15 tokens, expected one numbered 99"),
    ],
)
def test_a_config_that_cannot_be_computed(folder, settings, expected):
    changed(folder / "config.json", **settings)
    refused(folder, expected)


def test_tensors_of_the_wrong_shape_missing_and_left_over(folder):
    from safetensors.torch import save_file

    whole = safetensors_torch.load_file(folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    for damage, expected in (
        ({name: torch.zeros(3, 4)}, rf"tensor {name}: found shape \(3, 4\), expected \(48, 80\)"),
        ({"encoder.extra": torch.zeros(3)}, r"tensor encoder\.extra: found with shape"),
    ):
        save_file({**whole, **damage}, folder / "model.safetensors")
        refused(folder, expected)
    save_file({k: t for k, t in whole.items() if k != name}, folder / "model.safetensors")
    refused(folder, rf"tensor {name}: missing")


def test_a_tokenizer_that_is_none_or_too_large(folder):
    text = (folder / "tokenizer.json").read_text()
    for content, expected in (
        ("no json", r"tokenizer\.json: found no JSON file"),
        ('{"model": 5}', "found no tokenizer that `tokenizers`"),
        (
            text.replace('"[SEP]":3', '"[SEP]":3,"x":15,"y":16,"z":17'),
            "found 17 rows, expected at least 18",
        ),
    ):
        (folder / "tokenizer.json").write_text(content)
        refused(folder, expected)


def test_sentence_transformers_that_cannot_be_computed(tmp_path):
    (tmp_path / "st").mkdir()
    folder = sentence_transformers(tmp_path / "st").path
    modules = (folder / "modules.json").read_text()
    encoder = json.dumps(json.loads(modules)[:1])
    for file, old, new, expected in (
        ("modules.json", "models.Dense", "models.LSTM", "found the module LSTM"),
        ("modules.json", "2_Dense", "../elsewhere", "which is outside"),
        ("modules.json", modules, encoder, "no Transformer with its Pooling"),
        ("1_Pooling/config.json", "mean_tokens", "max_tokens", "found pooling_mode_max_tokens"),
        ("2_Dense/config.json", "linear.Identity", "activation.Tanh", "found the activation"),
    ):
        original = (folder / file).read_text()
        (folder / file).write_text(original.replace(old, new))
        refused(folder, expected)
        (folder / file).write_text(original)
    assert (folder / "modules.json").read_text() == modules


def test_m_clip_whose_projection_is_not_what_it_says(tmp_path):
    folder = m_clip(tmp_path / "m").path
    changed(folder / "config.json", numDims=512)
    refused(folder, r"LinearTransformation.weight: found \(20, 128\), expected 512 rows")
