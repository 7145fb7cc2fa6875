"""OpenAI's dialect: its TorchScript archives, and the state dictionaries of its model code.

Source: https://github.com/openai/CLIP, clip/model.py.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nnclip.convert import resnets
from nnclip.convert.built import Built
from nnclip.convert.dialect import (
    Code,
    Dialect,
    Part,
    Settings,
    Source,
    check_plain,
    names_of,
    part_of,
    without_heads,
)
from nnclip.convert.names import in_blocks, same
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig, TextConfig, VitConfig
from nnclip.image import CLIP_MEAN, CLIP_STD, Preprocess

BLOCK = {
    "transformer/resblocks/{}/attn/in_proj_W": same("transformer.resblocks.{}.attn.in_proj_weight"),
    "transformer/resblocks/{}/attn/in_proj_b": same("transformer.resblocks.{}.attn.in_proj_bias"),
    "transformer/resblocks/{}/attn/out_proj/W": same(
        "transformer.resblocks.{}.attn.out_proj.weight"
    ),
    "transformer/resblocks/{}/attn/out_proj/b": same("transformer.resblocks.{}.attn.out_proj.bias"),
    "transformer/resblocks/{}/ln_1/W": same("transformer.resblocks.{}.ln_1.weight"),
    "transformer/resblocks/{}/ln_1/b": same("transformer.resblocks.{}.ln_1.bias"),
    "transformer/resblocks/{}/mlp/c_fc/W": same("transformer.resblocks.{}.mlp.c_fc.weight"),
    "transformer/resblocks/{}/mlp/c_fc/b": same("transformer.resblocks.{}.mlp.c_fc.bias"),
    "transformer/resblocks/{}/mlp/c_proj/W": same("transformer.resblocks.{}.mlp.c_proj.weight"),
    "transformer/resblocks/{}/mlp/c_proj/b": same("transformer.resblocks.{}.mlp.c_proj.bias"),
    "transformer/resblocks/{}/ln_2/W": same("transformer.resblocks.{}.ln_2.weight"),
    "transformer/resblocks/{}/ln_2/b": same("transformer.resblocks.{}.ln_2.bias"),
}
VIT = {
    "visual/class_embedding": same("visual.class_embedding"),
    "visual/positional_embedding": same("visual.positional_embedding"),
    "visual/proj": same("visual.proj"),
    "visual/conv1/W": same("visual.conv1.weight"),
    "visual/ln_pre/W": same("visual.ln_pre.weight"),
    "visual/ln_pre/b": same("visual.ln_pre.bias"),
    **in_blocks("visual/", "visual.", BLOCK),
    "visual/ln_post/W": same("visual.ln_post.weight"),
    "visual/ln_post/b": same("visual.ln_post.bias"),
}
POOL = "visual/attnpool"
RESNET = {
    **resnets.table(("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"), "visual."),
    f"{POOL}/positional_embedding": same("visual.attnpool.positional_embedding"),
    **resnets.affine(f"{POOL}/q_proj", "visual.attnpool.q_proj"),
    **resnets.affine(f"{POOL}/k_proj", "visual.attnpool.k_proj"),
    **resnets.affine(f"{POOL}/v_proj", "visual.attnpool.v_proj"),
    **resnets.affine(f"{POOL}/c_proj", "visual.attnpool.c_proj"),
}
TEXT = {
    "token_embedding/W": same("token_embedding.weight"),
    "positional_embedding": same("positional_embedding"),
    **in_blocks("", "", BLOCK),
    "ln_final/W": same("ln_final.weight"),
    "ln_final/b": same("ln_final.bias"),
    "text_projection": same("text_projection"),
}
SCALE = {"logit_scale": same("logit_scale")}
# tensors that show a vision transformer and a ResNet
VIT_MARKER, RESNET_MARKER = "visual.class_embedding", "visual.layer1.0.conv1.weight"
SIZES = {"input_resolution", "context_length", "vocab_size"}  # in the archives of OpenAI only
# the sizes, which shapes tell as well, the causal mask and the counters of batch normalisations
DROPPED = (
    r"(visual\.)?input_resolution|context_length|vocab_size|(.*\.)?attn_mask|" + resnets.COUNTED
)


# Long-CLIP's: positions after the first KEPT stand in a table of their own, of the same shape
LONG, KEPT = "positional_embedding_res", 20


def describe(source: Source) -> dict[str, Any]:
    """Nothing: what shapes do not tell are constants in OpenAI's code, our defaults."""
    return {}


def has_names(source: Source) -> bool:
    """Whether the names are OpenAI's, which open_clip shares."""
    return any(key.startswith("visual.") for key in source.tensors)


def _claims(source: Source) -> bool:
    of_openai = source.kind == "TorchScript archive" or SIZES & source.tensors.keys()
    return has_names(source) and (bool(of_openai) or LONG in source.tensors)


def folded(source: Source) -> dict[str, Tensor]:
    """The tensors, with Long-CLIP's two tables of positions as the one that they make.

    Source: https://github.com/beichenzbc/Long-CLIP, model/model_longclip.py: each table is
    multiplied by a mask, of the first KEPT rows and of the others.
    """
    tensors = dict(source.tensors)
    first, rest = tensors.get("positional_embedding"), tensors.pop(LONG, None)
    if rest is None:
        return tensors
    if first is None or first.shape != rest.shape or len(rest.shape) != 2 or rest.shape[0] < KEPT:
        found = "none" if first is None else first.shape
        raise CheckpointError(
            f"tensor positional_embedding: found {found} beside {LONG} {rest.shape}, expected "
            f"tables of one shape with at least {KEPT} rows"
        )
    tensors["positional_embedding"] = dataclasses.replace(
        rest, read=lambda: np.concatenate([first.read()[:KEPT], rest.read()[KEPT:]])
    )
    return tensors


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """No file beside; CheckpointError if OpenAI's code has another constant in place of ours."""
    _arguments(config)
    found = replace(config.image.preprocess, pipeline="torchvision")
    if found != Preprocess(config.image.resolution):
        raise CheckpointError(
            f"images: found a model that wants {found.describe()}, but OpenAI's code knows only "
            "its own preprocessing; use --dialect open_clip or huggingface"
        )
    return {}


def _arguments(config: ClipConfig) -> tuple[Any, ...]:
    """What the constructor of OpenAI's CLIP is given."""
    without_heads(config, "OpenAI")
    image = part_of(IMAGES, config.image, "OpenAI").write(config.image)
    text = part_of(TEXTS, config.text, "OpenAI").write(config.text)
    return (config.embed, config.image.resolution, *image, *text)


def _vit(image: VitConfig) -> tuple[Any, ...]:
    check_plain(image, "OpenAI")
    _check_blocks("image", image.blocks)
    return image.blocks.layers, image.blocks.width, image.patch


def _resnet(image: ClipResNetConfig) -> tuple[Any, ...]:
    _check("image", image.channels, {"heads": (image.heads, image.channels // 64)})
    return image.layers, image.width, None


def _text(text: TextConfig) -> tuple[Any, ...]:
    blocks = text.blocks
    check_plain(text, "OpenAI")
    _check_blocks("text", blocks)
    return text.context, text.vocabulary, blocks.width, blocks.heads, blocks.layers


def _check_blocks(tower: str, blocks: BlockConfig) -> None:
    width = blocks.width
    wanted = {"activation": "quick_gelu", "hidden": 4 * width, "eps": 1e-5}
    wanted |= {"heads": max(width // 64, 1)}
    _check(tower, width, {k: (getattr(blocks, k), value) for k, value in wanted.items()})


def _check(tower: str, width: int, constants: dict[str, tuple[Any, Any]]) -> None:
    for what, (found, known) in constants.items():
        if found != known:
            raise CheckpointError(
                f"{tower} {what}: found {found}, but OpenAI's code knows only {known} for a width "
                f"of {width}; use --dialect open_clip or huggingface"
            )


def openai_code() -> Any:
    """The module clip/model.py, without its package, which wants more than torch."""
    package = importlib.util.find_spec("clip")
    assert package is not None and package.origin is not None
    file = Path(package.origin).with_name("model.py")
    spec = importlib.util.spec_from_file_location("openai_clip_model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(config: ClipConfig) -> Any:
    return openai_code().CLIP(*_arguments(config))


def _open(source: Source) -> Built:
    import torch

    state = {name: torch.from_numpy(t.read().copy()) for name, t in folded(source).items()}
    model = openai_code().build_model(dict(state)).float()  # rounds to float16 on its way
    model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
    return Built(model.eval(), _openai_transform(model.visual.input_resolution))


def _openai_transform(resolution: int) -> Callable[[Image.Image], np.ndarray]:
    """The pipeline of clip/clip.py, a module that needs more than torch."""
    from torchvision import transforms as T

    steps = T.Compose(
        [
            T.Resize(resolution, interpolation=T.InterpolationMode.BICUBIC),
            T.CenterCrop(resolution),
            lambda image: image.convert("RGB"),
            T.ToTensor(),
            T.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    return lambda image: np.asarray(steps(image))


def encoded(model: Any, config: ClipConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Features of both sides by code with `encode_image` and `encode_text`, as open_clip's too."""
    import torch

    images, ids = torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["text"]).long()
    return {"image": model.encode_image(images), "text": model.encode_text(ids)}


def blocks_of(model: Any) -> dict[str, Any]:
    """The blocks or stages of both towers, as open_clip names them too."""
    visual = model.visual
    if hasattr(visual, "layer4"):
        image = [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    else:
        image = visual.transformer.resblocks
    return {"image": image, "text": model.transformer.resblocks}


IMAGES = (
    Part(VitConfig, "vision transformer", VIT, VIT_MARKER, write=_vit),
    Part(ClipResNetConfig, "ResNet", RESNET, RESNET_MARKER, write=_resnet),
)
TEXTS = (Part(TextConfig, "CLIP's text transformer", TEXT, write=_text),)
DIALECT = Dialect(
    "openai",
    names_of("OpenAI", IMAGES, TEXTS, SCALE),
    DROPPED,
    _claims,
    describe,
    settings_of,
    Code(
        "clip-anytorch",
        "clip",
        _build,
        encoded,
        open=_open,
        logits=lambda model, images, ids: model(images, ids)[0],
        blocks=blocks_of,
        tokens_first=True,
    ),
    folded=folded,
)
