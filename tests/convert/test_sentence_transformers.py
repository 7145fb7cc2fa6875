"""Folders of sentence-transformers: what today's versions write, and what is not computed."""

import json

import pytest

from nnclip.convert.encoders import open_checkpoint
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.errors import CheckpointError
from nnclip.weights.h5 import read_h5
from nnclip.weights.tower import load_tower
from tests.convert.encoder_samples import sentence_transformers
from tests.lazy import lazy

transformers = lazy("transformers")
pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path):
    return sentence_transformers(tmp_path / "model").path


def write(path, told):
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(("mode", "expected"), [("mean", "mean"), ("cls", "first")])
def test_pooling_and_length_as_written_today(folder, tmp_path, mode, expected):
    write(folder / "1_Pooling" / "config.json", {"embedding_dimension": 48, "pooling_mode": mode})
    (folder / "0_Transformer" / "sentence_bert_config.json").unlink()
    write(folder / "0_Transformer" / "tokenizer_config.json", {"model_max_length": 17})
    convert_file(folder, tmp_path / "a.h5")
    config = load_tower(tmp_path / "a.h5").config
    assert (config.pooling, config.context) == (expected, 17)


def test_a_tokenizer_without_a_length_says_none(folder):
    (folder / "0_Transformer" / "sentence_bert_config.json").unlink()
    write(folder / "0_Transformer" / "tokenizer_config.json", {"model_max_length": int(1e30)})
    assert open_checkpoint(folder).settings["pooling.json"]["max_seq_length"] is None


@pytest.mark.parametrize(
    ("file", "told", "expected"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "the pooling_mode 'max'"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "cls"]}, "pooling_mode"),
        (
            "0_Transformer/sentence_bert_config.json",
            {"max_seq_length": 9, "do_lower_case": True},
            "found do_lower_case",
        ),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
            "the default prompt 'query: '",
        ),
    ],
)
def test_what_is_not_computed_is_refused(folder, tmp_path, file, told, expected):
    write(folder / file, told)
    with pytest.raises(CheckpointError, match=expected):
        convert_file(folder, tmp_path / "a.h5")


def test_prompts_that_nobody_asked_for_do_not_matter(folder, tmp_path):
    told = {"prompts": {"query": "", "document": "d: "}, "default_prompt_name": None}
    write(folder / "config_sentence_transformers.json", told)
    convert_file(folder, tmp_path / "a.h5")


def test_normalising_before_the_projection_is_refused(folder, tmp_path):
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"})
    write(folder / "modules.json", modules)
    with pytest.raises(CheckpointError, match="found Normalize before Dense"):
        convert_file(folder, tmp_path / "a.h5")


def test_a_clip_model_is_followed_from_the_top(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    told = transformers.CLIPConfig(
        vision_config={**sizes, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        text_config={**sizes, "num_attention_heads": 2},
        projection_dim=16,
    )
    transformers.CLIPModel(told).save_pretrained(tmp_path / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write(tmp_path / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}])
    convert_file(tmp_path, tmp_path / "top.h5")
    convert_file(tmp_path / "0_CLIPModel", tmp_path / "sub.h5")
    top, sub = read_h5(tmp_path / "top.h5"), read_h5(tmp_path / "sub.h5")
    assert top.metadata["sha256"] == sub.metadata["sha256"]


@pytest.mark.parametrize("kind", ["owlvit", "clipseg", "xclip", "align"])
def test_other_models_of_transformers_are_refused_by_their_name(tmp_path, kind):
    from safetensors.torch import save_file

    names = {"align": "text_model.embeddings.word_embeddings.weight"}
    tensor = lazy("torch").ones(2, 2)
    name = names.get(kind, "text_model.embeddings.token_embedding.weight")
    save_file({name: tensor, "vision_model.a": tensor.clone()}, tmp_path / "model.safetensors")
    write(tmp_path / "config.json", {"model_type": kind})
    with pytest.raises(CheckpointError, match=f"found a '{kind}' model, which nnclip does not"):
        convert_file(tmp_path, tmp_path / "a.h5")
