"""Small models in the dialects' own code, saved as their own code saves them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.convert.answers import inputs_of, relative_difference
from nnclip.convert.openai import openai_code
from nnclip.convert.source import DIALECTS
from tests.lazy import lazy

torch = lazy("torch")

VOCABULARY = 49408  # so that nnclip.CLIP finds a tokenizer that fits
NOT_ROUNDED = ("ln_", "bn", "downsample.1", "embedding", "logit_scale")
OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Sample:
    """A model of somebody else's code and the file or folder that it was saved to."""

    model: torch.nn.Module
    path: Path
    dialect: str
    arguments: tuple[str, ...] = ()  # of torch_to_h5.py

    def state(self) -> dict[str, torch.Tensor]:
        return dict(self.model.state_dict())


def openai_model() -> torch.nn.Module:
    """Embedding 32; images of 16 by patches of 8; two blocks of 64 and three of 128."""
    torch.manual_seed(0)
    return openai_code().CLIP(32, 16, 2, 64, 8, 12, VOCABULARY, 128, 2, 3).eval()


def openai_archive(folder: Path) -> Sample:
    """A TorchScript archive as OpenAI publishes them: float16 but for norms and embeddings."""
    return archived(openai_model(), 16, folder)


def archived(model: torch.nn.Module, resolution: int, folder: Path) -> Sample:
    openai_code().convert_weights(model)  # rounds the values
    model.float()
    for name, size in zip(OPENAI_SIZES, (resolution, 12, VOCABULARY), strict=True):
        if name in vars(model):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(size))
    ids = torch.zeros(1, 12, dtype=torch.long)
    images = torch.zeros(1, 3, resolution, resolution)
    archive = torch.jit.trace(model, (images, ids), check_trace=False)
    for name, parameter in archive.named_parameters():
        norm_or_embedding = any(word in name for word in NOT_ROUNDED)
        parameter.data = parameter.data if norm_or_embedding else parameter.data.half()
    torch.jit.save(archive, folder / "small.pt")
    for name in OPENAI_SIZES:
        delattr(model, name)
    return Sample(model, folder / "small.pt", "openai")


def openai_resnet_archive(folder: Path) -> Sample:
    """A ResNet of 16 channels; images of 64."""
    torch.manual_seed(3)
    code = openai_code()
    model = code.CLIP(32, 64, (1, 2, 1, 1), 16, None, 12, VOCABULARY, 64, 1, 2).eval()
    return archived(enlivened(model), 64, folder)


def enlivened(model: torch.nn.Module) -> torch.nn.Module:
    """With statistics and gains that no exchange of two tensors would leave unseen."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1 and "visual" in name:
                tensor.add_(0.2 * torch.randn_like(tensor))
    return model


def openai_state(folder: Path) -> Sample:
    """`torch.save(model.state_dict())` in the format before torch 1.6."""
    model = openai_model()
    path = folder / "small.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    return Sample(model, path, "openai", ("--dialect", "openai"))


def open_clip_model(
    quick_gelu: bool, head_width: int, vision: dict[str, Any] | None = None, **others: Any
) -> tuple[torch.nn.Module, dict[str, Any]]:
    import open_clip.model

    config = {
        "embed_dim": 32,
        "quick_gelu": quick_gelu,
        "vision_cfg": vision
        or {
            "image_size": 16,
            "patch_size": 8,
            "layers": 2,
            "width": 160,
            "head_width": head_width,
            "mlp_ratio": 2.5,
        },
        "text_cfg": {
            "context_length": 12,
            "vocab_size": VOCABULARY,
            "width": 64,
            "heads": 4,
            "layers": 2,
        },
        **others,
    }
    torch.manual_seed(1)
    return open_clip.model.CLIP(**config).eval(), config


def open_clip_config(config: dict[str, Any]) -> str:
    pictures = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    return json.dumps({"model_cfg": config, "preprocess_cfg": pictures})


def open_clip_safetensors(folder: Path) -> Sample:
    """As on the hub: GELU, heads of 80 as in ViT-H, the settings in a file beside."""
    from safetensors.torch import save_file

    model, config = open_clip_model(quick_gelu=False, head_width=80)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(open_clip_config(config))
    return Sample(model, folder, "open_clip")


def open_clip_sigmoid(folder: Path) -> Sample:
    """A CLIP that was trained with SigLIP's loss: a bias beside the scale."""
    from safetensors.torch import save_file

    model, config = open_clip_model(False, 80, init_logit_bias=-4.5)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(open_clip_config(config))
    return Sample(model, folder, "open_clip")


def custom_text(folder: Path) -> Sample:
    """A CustomTextCLIP, whose text tower stands below `text.`, with a bias on its logits."""
    import open_clip.model
    from safetensors.torch import save_file

    _, config = open_clip_model(False, 80)
    torch.manual_seed(5)
    model = open_clip.model.CustomTextCLIP(**config, init_logit_bias=-4.5).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    told = {**config, "custom_text": True, "init_logit_bias": -4.5}
    (folder / "open_clip_config.json").write_text(open_clip_config(told))
    return Sample(model, folder, "open_clip")


def open_clip_resnet(folder: Path) -> Sample:
    """GELU in the text tower, heads of 32 in the attention pooling."""
    from safetensors.torch import save_file

    vision = {"image_size": 64, "layers": [2, 1, 1, 1], "width": 16, "head_width": 32}
    model, config = open_clip_model(False, 32, vision)
    save_file(enlivened(model).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(open_clip_config(config))
    return Sample(model, folder, "open_clip")


def open_clip_checkpoint(folder: Path) -> Sample:
    """As its trainer saves: wrapped, `module.` before each name; settings from --config."""
    model, config = open_clip_model(quick_gelu=True, head_width=32)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    wrapped = {"epoch": 3, "name": "run", "state_dict": state}
    torch.save(wrapped, folder / "epoch_3.pt")
    (folder / "model.json").write_text(json.dumps(config))  # as in open_clip's model_configs
    return Sample(
        model, folder / "epoch_3.pt", "open_clip", ("--config", str(folder / "model.json"))
    )


def open_clip_bfloat16(folder: Path) -> Sample:
    """A .bin in bfloat16, its settings said by hand."""
    model, _ = open_clip_model(quick_gelu=False, head_width=80)
    model.to(torch.bfloat16)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return Sample(
        model,
        folder / "open_clip_pytorch_model.bin",
        "open_clip",
        ("--activation", "gelu", "--heads", "2,4"),
    )


def huggingface_model(activation: str, eps: float) -> Any:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_act": activation, "layer_norm_eps": eps, "projection_dim": 32}
    torch.manual_seed(2)
    model = CLIPModel(
        CLIPConfig(
            projection_dim=32,
            vision_config={
                **shared,
                "hidden_size": 96,
                "intermediate_size": 200,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "image_size": 20,  # no multiple of the patch
                "patch_size": 8,
            },
            text_config={
                **shared,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 12,
                "vocab_size": VOCABULARY,
                "bos_token_id": VOCABULARY - 2,
                "eos_token_id": VOCABULARY - 1,
            },
        )
    )
    with torch.no_grad():  # transformers begins with zeros, which no exchange could be seen in
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def huggingface_folder(folder: Path) -> Sample:
    from transformers import CLIPImageProcessor

    model = huggingface_model("quick_gelu", 1e-5)
    model.save_pretrained(folder)
    CLIPImageProcessor(size=20, crop_size=20, image_mean=[0.5, 0.4, 0.3]).save_pretrained(folder)
    return Sample(model, folder, "huggingface")


def huggingface_shards(folder: Path) -> Sample:
    """Several files and their index; GELU, and another epsilon."""
    model = huggingface_model("gelu", 1e-4)
    model.save_pretrained(folder, max_shard_size="2MB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return Sample(model, folder, "huggingface")


def huggingface_bin(folder: Path) -> Sample:
    """Old: a pickle, and the positions as buffers."""
    model = huggingface_model("quick_gelu", 1e-5)
    model.config.save_pretrained(folder)
    state = model.state_dict()
    for tower, count in (("vision_model", 5), ("text_model", 12)):
        state[f"{tower}.embeddings.position_ids"] = torch.arange(count)[None]
    torch.save(state, folder / "pytorch_model.bin")
    return Sample(model, folder, "huggingface")


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    make.__name__: make
    for make in (
        openai_archive,
        openai_state,
        openai_resnet_archive,
        open_clip_resnet,
        open_clip_safetensors,
        open_clip_sigmoid,
        open_clip_checkpoint,
        open_clip_bfloat16,
        huggingface_folder,
        huggingface_shards,
        huggingface_bin,
    )
}


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return SAMPLES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return openai_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def archive(traced: Sample, tmp_path: Path) -> Sample:
    """A copy, which a test may damage."""
    return dataclasses.replace(traced, path=Path(shutil.copy(traced.path, tmp_path / "archive.pt")))


@pytest.fixture(scope="session")
def differences() -> Callable[[torch.nn.Module, Path], tuple[float, float]]:
    return _differences


@pytest.fixture(name="open_clip_sigmoid")
def _open_clip_sigmoid(tmp_path: Path) -> Sample:
    folder = tmp_path / "open_clip"
    folder.mkdir()
    return open_clip_sigmoid(folder)


@pytest.fixture
def huggingface(tmp_path: Path) -> Sample:
    folder = tmp_path / "huggingface"
    folder.mkdir()
    return huggingface_folder(folder)


def _differences(model: torch.nn.Module, h5: Path) -> tuple[float, float]:
    """How far the features of images and of texts are from those of `model`, relative."""
    ours = CLIP(h5)
    images, ids = inputs_of(ours.config, 3)
    of = {"transformers": "huggingface", "open_clip": "open_clip"}
    dialect = DIALECTS[of.get(type(model).__module__.partition(".")[0], "openai")]
    with torch.no_grad():
        told = dialect.code.features(model.float(), None, {"image": images, "text": ids})
    expected = [told[side].numpy() for side in ("image", "text")]
    found = [
        ours.encode_image(nn.Variable.from_numpy_array(images)),
        ours.encode_text(nn.Variable.from_numpy_array(ids)),
    ]
    nn.forward_all(found)
    image, text = (
        relative_difference(np.copy(a.d), b) for a, b in zip(found, expected, strict=True)
    )
    return image, text
