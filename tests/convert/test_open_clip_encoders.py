"""Encoders of transformers in open_clip: RoBERTa, XLM-R and NLLB, each held against open_clip."""

from dataclasses import replace

import numpy as np
import pytest

from nnclip.convert.encoders import open_checkpoint
from nnclip.convert.names import to_foreign, to_published, without
from nnclip.convert.open_clip import DIALECT
from nnclip.convert.tensors import of_array
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.errors import CheckpointError
from nnclip.model import CLIP
from tests.convert.test_families import (
    HALF,
    OWN_VISION,
    TEXTS,
    VOCABULARY,
    apart,
    make_folder,
    pictures,
    timm_cfg,
)

pytestmark = pytest.mark.torch
SIGLIP = timm_cfg("vit_base_patch16_siglip_224", "map", "none", 224)


def model_cfg(name, embed=24, vision=OWN_VISION, **text):
    told = {"hf_model_name": name, "hf_tokenizer_name": name}
    return {"embed_dim": embed, "vision_cfg": vision, "text_cfg": told | text}


CASES = {
    "roberta": ({**model_cfg("roberta-base"), "quick_gelu": True}, {}),
    "first token, one layer": (
        model_cfg(
            "FacebookAI/xlm-roberta-base",
            hf_proj_type="linear",
            hf_pooler_type="cls_last_hidden_state_pooler",
            context_length=20,
        ),
        {},
    ),
    "nllb": (
        model_cfg(
            "facebook/nllb-200-distilled-600M", hf_proj_type="linear", hf_pooler_type="cls_pooler"
        ),
        {},
    ),
    "nllb beside siglip": (
        {
            **model_cfg(
                "facebook/nllb-200-distilled-600M",
                768,
                SIGLIP,
                hf_proj_type="linear",
                hf_pooler_type="cls_pooler",
            ),
            "init_logit_bias": -10,
        },
        HALF,
    ),
}


@pytest.fixture(autouse=True, scope="module")
def small_encoders():
    """The settings of encoders that open_clip fetches by name, with the real heads."""
    import open_clip.hf_model
    import transformers

    def made(name, *_, **__):
        if "nllb" in name:
            return transformers.M2M100Config(
                vocab_size=VOCABULARY + 7,
                d_model=64,
                encoder_layers=2,
                decoder_layers=1,
                encoder_attention_heads=16,
                encoder_ffn_dim=96,
                decoder_ffn_dim=8,
                scale_embedding=True,
                activation_function="relu",
            )
        kind = transformers.XLMRobertaConfig if "xlm" in name else transformers.RobertaConfig
        return kind(
            vocab_size=VOCABULARY + 7,
            hidden_size=128,
            num_attention_heads=2,
            intermediate_size=96,
            num_hidden_layers=2,
            max_position_embeddings=100,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.hf_model.AutoConfig, "from_pretrained", staticmethod(made))
        yield


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A folder, open_clip's model of it, and nnclip's."""
    folder = tmp_path_factory.mktemp("hub")
    # ids as these encoders have them: the padding is 1
    model = make_folder(folder, *CASES[request.param], ("<s>", "<pad>", "</s>"))
    convert_file(folder, folder / "model.h5")
    return folder, model, CLIP(folder / "model.h5", precision="fp32")


def test_everything_is_what_open_clip_makes_of_it(case):
    import torch
    from open_clip import factory

    folder, theirs, mine = case
    with pytest.MonkeyPatch.context() as patch:  # open_clip gives a Path, transformers wants a word
        old = factory.HFTokenizer
        patch.setattr(factory, "HFTokenizer", lambda name, *a, **kw: old(str(name), *a, **kw))
        ids = factory.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    my_ids = mine.tokenize(TEXTS, truncate=True)
    assert np.array_equal(my_ids, ids.numpy())
    size = mine.preprocess(next(pictures())).shape[-1]
    pixels = torch.from_numpy(np.random.RandomState(0).randn(2, 3, size, size).astype(np.float32))
    with torch.inference_mode():
        image, text = theirs.encode_image(pixels).numpy(), theirs.encode_text(ids).numpy()
        logits = theirs.get_logits(pixels, ids)[0].numpy()
    assert apart(mine.encode_image(pixels.numpy()), image) < 2e-5
    assert apart(mine.encode_text(my_ids), text) < 2e-5
    assert apart(mine.encode_text(my_ids[:1]), text[:1]) < 2e-5  # a text alone, cut to its length
    assert np.abs(mine.logits(pixels.numpy(), my_ids)[0] - logits).max() < 2e-3


def test_gradients_are_those_of_torch(case):
    import nnabla as nn
    import torch

    _, theirs, mine = case
    ids = mine.tokenize(TEXTS[:2])
    theirs.zero_grad()
    theirs.encode_text(torch.from_numpy(ids).long()).square().sum().backward()
    parameters = mine.parameters()
    for variable in parameters.values():
        variable.g = 0
    total = nn.functions.sum(mine.encode_text(nn.Variable.from_numpy_array(ids)) ** 2)
    total.forward()
    total.backward()
    wanted = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in theirs.named_parameters()
        if name.startswith("text.")
    }
    shown = {k: of_array(v.g.copy()) for k, v in parameters.items() if "/" in k}
    text = {k: t for k, t in shown.items() if k.startswith(("bert/", "nllb/"))}
    found = to_foreign(text, DIALECT.names.reading(open_checkpoint(case[0])))
    assert found.keys() == without(wanted, DIALECT.dropped).keys()
    for name, tensor in found.items():
        if name.endswith(("k_proj.bias", "key.bias")):
            continue  # 0 but for rounding: softmax does not see it
        expected = wanted[name].numpy()
        difference = np.linalg.norm(tensor.read() - expected)
        assert difference < 1e-4 * np.linalg.norm(expected), name


def test_names_lead_back_to_the_same_tensors(case):
    source = open_checkpoint(case[0])
    table = DIALECT.names.reading(source)
    again = to_foreign(to_published(source.tensors, table), table)
    kept = without(source.tensors, DIALECT.dropped)
    assert again.keys() == kept.keys()
    for name, tensor in again.items():
        assert np.array_equal(tensor.read(), kept[name].read()), name


@pytest.mark.parametrize(
    ("rows", "width", "layers", "name"),
    [(50265, 768, 12, "roberta-base"), (250002, 1024, 24, "xlm-roberta-large"), (9, 768, 12, None)],
)
def test_settings_name_the_encoder_that_has_these_sizes(rows, width, layers, name):
    from nnclip.convert.open_clip_encoders import ROBERTA_MLP
    from nnclip.graph.config import BertConfig, BlockConfig

    blocks = BlockConfig(width, layers, width // 64, 4 * width, "gelu", 1e-5)
    text = BertConfig(
        rows, 514, 77, blocks, types=1, pad=1, first_position=2, pooling="mean",
        projection=512, dense=(width + 512) // 2, dense_activation="gelu", clean="whitespace",
    )  # fmt: skip
    told = ROBERTA_MLP.settings_of(text)
    assert (told and told["hf_model_name"]) == name
    assert ROBERTA_MLP.settings_of(replace(text, dense=7)) is None


def test_an_encoder_that_is_not_known_is_refused_by_name(case, tmp_path):
    for file in case[0].iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = tmp_path / "open_clip_config.json"
    text = config.read_text().replace('", "hf_tok', '-of-others", "hf_tok')
    config.unlink()
    config.write_text(text)
    with pytest.raises(CheckpointError, match=r"-of-others of .*which nnclip does not know"):
        convert_file(tmp_path, tmp_path / "other.h5")
