"""Families of open_clip's towers, each held against open_clip end to end, and written back.

Few layers and small vocabularies, with the real options: one case for each option, not for each
published name.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.convert import timm_convnext
from nnclip.convert.h5_to_torch import convert_h5
from nnclip.convert.source import DIALECTS
from nnclip.convert.torch_to_h5 import convert_file, main
from nnclip.errors import CheckpointError
from nnclip.model import CLIP
from tests.convert.gradients import assert_same, squares

pytestmark = pytest.mark.torch
TEXTS = ["a photo of a cat", "Two RED cars_parked, in the snow!", "! ok", "the quick fox " * 40]
VOCABULARY = 200
SMALL_TEXT = {"width": 32, "heads": 2, "layers": 2, "vocab_size": VOCABULARY}
OWN_VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
SIGLIP_TEXT = {
    **SMALL_TEXT,
    "context_length": 16,
    "hf_tokenizer_name": "x",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


def timm_cfg(name, pool, proj, size, **more):
    told = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": size}
    return {**told, "timm_model_pretrained": False, **more}


def eva(name, pool, size):
    text = {**SMALL_TEXT, "context_length": 16, "vocab_size": 49408}
    vision = timm_cfg(name, pool, None, size)
    model = {"embed_dim": 24, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    return model, {"interpolation": "bilinear", **HALF} if pool == "map" else {}, None


def coca(embed):
    text = {**SMALL_TEXT, "context_length": 15, "vocab_size": 49408, "embed_cls": True}
    model = {
        "embed_dim": embed,
        "custom_text": True,
        "vision_cfg": {**OWN_VISION, "attentional_pool": True, "attn_pooler_heads": 4},
        "text_cfg": text,
        "multimodal_cfg": {"context_length": 15, "width": 32, "heads": 2, "layers": 1},
    }
    model["vision_cfg"]["output_tokens"] = model["text_cfg"]["output_tokens"] = True
    return model, {}, None


# name -> model_cfg, preprocess_cfg, how the tokenizer marks texts: (start, end, padding)
CASES = {
    "siglip": (
        {
            "embed_dim": 768,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": timm_cfg("vit_base_patch16_siglip_224", "map", "none", 224),
            "text_cfg": SIGLIP_TEXT,
        },
        HALF,
        ("", "</s>", "</s>"),
    ),
    "siglip 2": (
        {
            "embed_dim": 768,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": timm_cfg("vit_base_patch32_siglip_256", "map", "none", 256),
            "text_cfg": {**SIGLIP_TEXT, "act_kwargs": {"approximate": "tanh"}},
        },
        HALF,
        ("", "</s>", "<pad>"),
    ),
    "no text projection": (
        {
            "embed_dim": 1152,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": timm_cfg("vit_so400m_patch14_siglip_224", "map", "none", 224),
            "text_cfg": {
                **{k: v for k, v in SIGLIP_TEXT.items() if k != "proj_bias"},
                "width": 1152,
                "heads": 16,
                "proj_type": "none",
            },
        },
        HALF,
        ("", "</s>", "</s>"),
    ),
    "clipa": (
        {
            "embed_dim": 24,
            "vision_cfg": {
                **OWN_VISION,
                "no_ln_pre": True,
                "pool_type": "avg",
                "final_ln_after_pool": True,
            },
            "text_cfg": {
                **SMALL_TEXT,
                "context_length": 16,
                "hf_tokenizer_name": "x",
                "tokenizer_kwargs": {"strip_sep_token": True},
                "pool_type": "last",
                "no_causal_mask": True,
            },
        },
        {"interpolation": "bilinear", "resize_mode": "squash"},
        ("<s>", "</s>", "<pad>"),
    ),
    "metaclip 2": (
        {
            "embed_dim": 24,
            "vision_cfg": OWN_VISION,
            "text_cfg": {
                **SMALL_TEXT,
                "context_length": 16,
                "hf_tokenizer_name": "x",
                "pool_type": "eos",
                "eos_id": 1,
            },
        },
        {},
        ("<s>", "</s>", "<pad>"),
    ),
    "mobileclip 2 l": (
        {
            "embed_dim": 768,
            "custom_text": True,
            "vision_cfg": timm_cfg("vit_large_patch14_clip_224", "token", None, 224),
            "text_cfg": {
                **SMALL_TEXT, "context_length": 16, "vocab_size": 49408, "no_causal_mask": True
            },
        },
        {},
        None,
    ),
    "convnext": (
        {
            "embed_dim": 24,
            "vision_cfg": timm_cfg("convnext_base", "", "linear", 64),
            "text_cfg": {**SMALL_TEXT, "context_length": 16, "vocab_size": 49408},
        },
        {},
        None,
    ),
    "convnext with an mlp": (
        {
            "embed_dim": 24,
            "vision_cfg": timm_cfg("convnext_base", "", "mlp", 64),
            "text_cfg": {**SMALL_TEXT, "context_length": 16, "vocab_size": 49408},
        },
        {},
        None,
    ),
    "vitamin": (
        {
            "embed_dim": 24,
            "custom_text": True,
            "vision_cfg": timm_cfg("vitamin_small_224", "", "linear", 224),
            "text_cfg": {**SMALL_TEXT, "context_length": 16, "vocab_size": 49408},
        },
        {},
        None,
    ),
    "eva 1": eva("eva_giant_patch14_224", "token", 224),
    "eva 2 e": eva("eva02_enormous_patch14_clip_224", "token", 224),
    "eva 2": eva("eva02_base_patch16_clip_224", "token", 224),
    "perception": eva("vit_pe_core_tiny_patch16_384", "map", 384),
    "perception without a class token": eva("vit_pe_core_gigantic_patch14_448", "map", 448),
    "coca": coca(24),
    "coca as wide as its tokens": coca(32),
    "fastvit": (
        {
            "embed_dim": 24,
            "custom_text": True,
            "vision_cfg": timm_cfg("fastvit_mci0", "avg", None, 64),
            "text_cfg": {
                **SMALL_TEXT, "context_length": 16, "vocab_size": 49408, "no_causal_mask": True
            },
        },
        {"interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3},
        None,
    ),
    "mobileclip b": (
        {
            "embed_dim": 24,
            "custom_text": True,
            "vision_cfg": timm_cfg("vit_base_mci_224", "token", None, 224),
            "text_cfg": {**SMALL_TEXT, "context_length": 16, "vocab_size": 49408},
        },
        {"interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3},
        None,
    ),
}  # fmt: skip
FOLDED = {"fastvit", "mobileclip b"}
HEAVY = {"perception without a class token"}  # 1,024 tokens of 1,536 channels
# beginning of a timm name -> what makes its tower small; the first counts
SMALLER = {
    "convnext": {"depths": (1, 2, 1, 1), "dims": (8, 16, 32, 64)},
    "eva02_base": {"depth": 2},  # the last one reads no patch
    "eva": {"depth": 1, "mlp_ratio": 0.5},
    "vit_pe_core_gigantic": {"depth": 1, "mlp_ratio": 0.5, "attn_pool_mlp_ratio": 0.25},
    "vit": {"depth": 1},
    "fastvit": {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 64)},
}


def write_tokenizer(folder, start, end, pad):
    """A byte-level BPE of Hugging Face: `<pad>` 0, `</s>` 1, `<s>` 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>", "<s>", "<unk>"],
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    pieces = " ".join(filter(None, (start, "$A", end)))
    marks = [(token, made.token_to_id(token)) for token in (start, end) if token]
    made.post_processor = processors.TemplateProcessing(single=pieces, special_tokens=marks)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, eos_token="</s>", sep_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)


def _timm_name(model_cfg):
    return model_cfg["vision_cfg"].get("timm_model_name", "")


def make_folder(folder, model_cfg, preprocess_cfg, marks):
    """A hub folder of open_clip with random weights; the model and its settings."""
    import timm
    import torch
    from open_clip import factory
    from safetensors.torch import save_file

    if marks:
        write_tokenizer(folder, *marks)
    told = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    make = timm.create_model
    smaller = next((v for k, v in SMALLER.items() if _timm_name(model_cfg).startswith(k)), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", lambda name, **kw: make(name, **{**smaller, **kw}))
        model = factory.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False
        ).eval()
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = torch.randn_like(parameter)
            if parameter.ndim:
                parameter.add_(0.02 * spread)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
    state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return model


@pytest.fixture(
    scope="module",
    params=[pytest.param(c, marks=pytest.mark.heavy if c in HEAVY else ()) for c in CASES],
)
def case(request, tmp_path_factory):
    """A folder, open_clip's model of it, and nnclip's."""
    folder = tmp_path_factory.mktemp("hub")
    model = make_folder(folder, *CASES[request.param])
    convert_file(folder, folder / "model.h5")
    with pytest.MonkeyPatch.context() as patch:  # the name then stands for the small one
        patch.setitem(timm_convnext.NAMES, "convnext_base", timm_convnext.Named(8, (1, 2, 1, 1)))
        yield folder, model, CLIP(folder / "model.h5", precision="fp32")


def pictures():
    """A wide and a tall image."""
    rng = np.random.default_rng(3)
    for size in ((90, 140), (300, 120)):
        yield Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))


def apart(found, wanted):
    """The largest difference of two rows, relative to the norm."""
    return (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max()


def logits_of(theirs, image, text):
    """By definition: CoCa's code does not compute them alone."""
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    bias = getattr(theirs, "logit_bias", None)
    logits = theirs.logit_scale.exp().item() * image @ text.T
    return logits if bias is None else logits + bias.item()


def test_everything_is_what_open_clip_makes_of_it(case):
    import torch
    from open_clip import factory
    from open_clip.transform import PreprocessCfg, image_transform_v2

    folder, theirs, mine = case
    transform = image_transform_v2(PreprocessCfg(**theirs.visual.preprocess_cfg), is_train=False)
    pixels = torch.stack([transform(image) for image in pictures()])
    assert np.array_equal(np.stack([mine.preprocess(i) for i in pictures()]), pixels.numpy())
    with pytest.MonkeyPatch.context() as patch:  # open_clip gives a Path, transformers wants a word
        old = factory.HFTokenizer
        patch.setattr(factory, "HFTokenizer", lambda name, *a, **kw: old(str(name), *a, **kw))
        ids = factory.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    my_ids = mine.tokenize(TEXTS, truncate=True)
    assert np.array_equal(my_ids, ids.numpy())
    with torch.inference_mode():
        image = theirs.encode_image(pixels, normalize=False).numpy()
        text = theirs.encode_text(ids, normalize=False).numpy()
        logits = logits_of(theirs, image, text)
    assert apart(mine.encode_image(pixels.numpy()), image) < 2e-5
    assert apart(mine.encode_text(my_ids), text) < 2e-5
    assert np.abs(mine.logits(pixels.numpy(), my_ids)[0] - logits).max() < 2e-3
    total = mine.probabilities(pixels.numpy(), my_ids).sum(axis=1)
    assert (getattr(theirs, "logit_bias", None) is None) == np.allclose(total, 1, atol=1e-5)


def test_written_back_it_is_the_same_bytes(case, tmp_path, request):
    from open_clip import factory
    from safetensors.torch import load_file

    folder, _, _ = case
    if request.node.callspec.params["case"] in FOLDED:
        with pytest.raises(CheckpointError, match="folded into single convolutions"):
            convert_h5(folder / "model.h5", tmp_path, DIALECTS["open_clip"])
        return
    convert_h5(folder / "model.h5", tmp_path, DIALECTS["open_clip"])
    first = load_file(folder / "open_clip_model.safetensors")
    second = load_file(tmp_path / "open_clip_model.safetensors")
    captions = {k for k in first if k.startswith("text_decoder.")}  # are left out
    assert bool(captions) == request.node.name.endswith(("[coca]", "[coca as wide as its tokens]"))
    first = {k: v for k, v in first.items() if k not in captions}
    assert first.keys() == second.keys()
    assert all(first[k].reshape(second[k].shape).equal(second[k]) for k in first)
    again = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]
    before = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    assert again["vision_cfg"].get("timm_model_name") == before["vision_cfg"].get("timm_model_name")
    if "timm_model_name" not in before["vision_cfg"]:  # else the depth is that of the name
        factory.create_model(f"local-dir:{tmp_path}")


def test_gradients_are_those_of_torch(case, request):
    if "no text projection" in request.node.name or "class token" in request.node.name:
        pytest.skip("as SigLIP's and Perception's, with 1,152 and 1,536 channels")
    import torch

    folder, theirs, mine = case
    pixels = np.stack([mine.preprocess(image) for image in pictures()])
    ids = mine.tokenize(TEXTS[:2])
    theirs.zero_grad()
    features = (
        theirs.encode_image(torch.from_numpy(pixels), normalize=False),
        theirs.encode_text(torch.from_numpy(ids).long(), normalize=False),
    )
    (features[0].square().sum() + features[1].square().sum()).backward()
    whole = request.node.callspec.params["case"] not in FOLDED
    assert_same(squares(mine, pixels, ids), theirs, folder, "open_clip", whole)


def test_a_tower_that_is_not_known_is_refused_by_name(tmp_path):
    model_cfg, preprocess_cfg, marks = CASES["mobileclip 2 l"]
    make_folder(tmp_path, model_cfg, preprocess_cfg, marks)
    path = tmp_path / "open_clip_config.json"
    path.write_text(path.read_text().replace("vit_large_patch14_clip_224", "hiera_small_224"))
    with pytest.raises(CheckpointError, match="hiera_small_224 of timm, which nnclip"):
        convert_file(tmp_path, tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("side", "setting", "told"),
    [
        ("vision_cfg", {"attentional_pool": "cascade"}, "attentional_pool 'cascade'"),
        ("vision_cfg", {"pool_type": "avg"}, "pool_type 'avg'"),
        ("vision_cfg", {"attn_pooler_heads": 5}, "image_pool_heads: found 5, expected a divisor"),
        ("text_cfg", {"pad_id": 7}, "pad_id 7, expected 0"),
        ("text_cfg", {"qk_norm": True}, "qk_norm True"),
    ],
)
def test_a_coca_that_is_not_computed_is_refused_by_its_setting(side, setting, told, tmp_path):
    made = coca(24)
    make_folder(tmp_path, *made)
    settings = {"model_cfg": {**made[0], side: {**made[0][side], **setting}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=told):
        convert_file(tmp_path, tmp_path / "model.h5")


def test_the_decoder_of_captions_is_left_out_and_named(tmp_path, capsys):
    make_folder(tmp_path, *coca(24))
    assert main([str(tmp_path), str(tmp_path / "model.h5")]) == 0
    line = "dropped   the decoder of captions (29 tensors, text_decoder.*)\n"
    assert line in capsys.readouterr().out


def test_without_its_tokenizer_it_is_refused(tmp_path):
    make_folder(tmp_path, *CASES["clipa"])
    Path(tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: cannot be read"):
        convert_file(tmp_path, tmp_path / "model.h5")


@pytest.mark.parametrize("dialect", ["openai", "huggingface"])
def test_code_that_lacks_an_option_is_not_written_for(case, dialect, tmp_path):
    """A file in such a dialect would load, and answer otherwise."""
    folder, _, _ = case
    destination = tmp_path / ("out.pt" if dialect == "openai" else "out")
    with pytest.raises(CheckpointError, match=r"knows only|has no such parameter"):
        convert_h5(folder / "model.h5", destination, DIALECTS[dialect])
