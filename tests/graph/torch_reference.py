"""What OpenAI's own model code and open_clip make of the same weights and the same pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnclip.convert.openai import openai_code
from nnclip.graph.config import BlockConfig, ClipConfig
from nnclip.graph.parameters import Scope, flatten
from tests.graph.answers import Answer
from tests.lazy import lazy

open_clip = lazy("open_clip")
torch = lazy("torch")


def torch_name(name: str) -> str:
    """The name in a torch state dict of a published name."""
    dotted = name.replace("/", ".").replace("in_proj_W", "in_proj_weight")
    dotted = dotted.replace("in_proj_b", "in_proj_bias")
    if dotted.endswith(".W"):
        return dotted[:-1] + "weight"
    return dotted[:-1] + "bias" if dotted.endswith(".b") else dotted


def openai_model(config: ClipConfig) -> torch.nn.Module:
    """OpenAI's CLIP, initialised by its own code."""
    image, text = config.image, config.text
    return openai_code().CLIP(
        embed_dim=config.embed,
        image_resolution=image.resolution,
        vision_layers=image.blocks.layers,
        vision_width=image.blocks.width,
        vision_patch_size=image.patch,
        context_length=text.context,
        vocab_size=text.vocabulary,
        transformer_width=text.blocks.width,
        transformer_heads=text.blocks.heads,
        transformer_layers=text.blocks.layers,
    )


def open_clip_settings(config: ClipConfig) -> dict[str, Any]:
    """What open_clip calls this model."""
    image, text = config.image, config.text

    def tower(blocks: BlockConfig) -> dict[str, Any]:
        return {
            "layers": blocks.layers,
            "width": blocks.width,
            "mlp_ratio": blocks.hidden / blocks.width,
            "norm_kwargs": {"eps": blocks.eps},
        }

    return {
        "embed_dim": config.embed,
        "quick_gelu": image.blocks.activation == "quick_gelu",
        "vision_cfg": {
            **tower(image.blocks),
            "image_size": image.resolution,
            "patch_size": image.patch,
            "head_width": image.blocks.width // image.blocks.heads,
        },
        "text_cfg": {
            **tower(text.blocks),
            "context_length": text.context,
            "vocab_size": text.vocabulary,
            "heads": text.blocks.heads,
        },
    }


def by_openai(config: ClipConfig, scope: Scope, images: np.ndarray, ids: np.ndarray) -> Answer:
    """The answer of OpenAI's own code; its loss is the cross-entropies of its logits, halved."""
    with torch.device("meta"):
        model: Any = openai_model(config)
    mask = model.build_attention_mask()
    for block in model.transformer.resblocks:
        block.attn_mask = mask

    def logits_and_loss(images: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        per_image, per_text = model(images, ids)
        own = torch.arange(len(images))
        cross_entropy = torch.nn.functional.cross_entropy
        return per_image, (cross_entropy(per_image, own) + cross_entropy(per_text, own)) / 2

    return _answer(model, scope, images, ids, logits_and_loss, batch_first=False)


def by_open_clip(
    settings: dict[str, Any], scope: Scope, images: np.ndarray, ids: np.ndarray
) -> Answer:
    """The answer of open_clip's model and of its loss."""
    with torch.device("meta"):
        model: Any = open_clip.model.CLIP(**settings)
    mask = torch.full((model.context_length, model.context_length), -torch.inf)
    model.attn_mask = mask.triu(1)

    def logits_and_loss(images: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer = model(images, ids)
        return open_clip.loss.ClipLoss().get_logits(*answer)[0], open_clip.loss.ClipLoss()(*answer)

    return _answer(model, scope, images, ids, logits_and_loss, model.transformer.batch_first)


def _answer(
    model: Any,
    scope: Scope,
    images: np.ndarray,
    ids: np.ndarray,
    logits_and_loss: Any,
    batch_first: bool,
) -> Answer:
    """Ask a model that was made on no device; its parameters become NNabla's own memory."""
    weights = {torch_name(k): torch.from_numpy(v.d) for k, v in flatten(scope).items()}
    model.load_state_dict(weights, assign=True)
    hidden: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    for tower, blocks in (("image", model.visual), ("text", model)):
        for block in blocks.transformer.resblocks:
            block.register_forward_hook(lambda *args, tower=tower: hidden[tower].append(args[-1]))
    features: dict[str, torch.Tensor] = {}
    for tower in hidden:  # those of the one forward pass, before they are normalised
        encode = getattr(model, f"encode_{tower}")

        def encoded(batch, normalize=False, tower=tower, encode=encode):
            features[tower] = encode(batch)
            return (
                torch.nn.functional.normalize(features[tower], dim=-1)
                if normalize
                else features[tower]
            )

        setattr(model, f"encode_{tower}", encoded)
    x, t = torch.from_numpy(images), torch.from_numpy(ids)
    logits, loss = logits_and_loss(x, t)
    loss.backward()
    values = {f"{tower}/features": array.detach().numpy() for tower, array in features.items()}
    read = {"image": torch.zeros(len(x), dtype=torch.int64), "text": t.argmax(dim=1)}
    for tower, outputs in hidden.items():
        states = [y.detach() if batch_first else y.detach().transpose(0, 1) for y in outputs]
        states[-1] = states[-1][torch.arange(len(x)), read[tower]][:, None]
        values |= {f"{tower}/{i}": y.numpy() for i, y in enumerate(states)}
    values |= {"logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
    gradients = dict(model.named_parameters())
    return Answer(values, {k: gradients[torch_name(k)].grad.numpy() for k in flatten(scope)})
