"""The implementations in torch that nnclip is measured against, all with the same weights.

torch itself and each peer may be absent: `torch_peers` then leaves it out and names it.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import measuring
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for convert/, in any working folder

from nnclip.convert import bert, huggingface, open_clip, openai
from nnclip.convert.dialect import Dialect
from nnclip.convert.names import Table, to_foreign, to_published
from nnclip.convert.tensors import of_array
from nnclip.errors import CheckpointError
from nnclip.weights.model import ModelWeights
from nnclip.weights.tower import side_of

if TYPE_CHECKING:
    import torch

Encode = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass
class TorchPeer:
    """CLIP in torch.

    Attributes:
        name: whose code it is.
        model: with nnclip's weights.
        encode_image: images (N, 3, R, R) -> features (N, E).
        encode_text: ids (N, L) -> features (N, E).
        table: published name -> the name of its parameter.
    """

    name: str
    model: torch.nn.Module
    encode_image: Encode
    encode_text: Encode
    table: Table

    def in_bf16(self) -> TorchPeer:
        """A copy whose weights are bfloat16, which takes and gives float32."""
        import torch

        model = copy.deepcopy(self.model).to(torch.bfloat16)
        if self.name == "openai":  # its layer normalisation computes in float32
            for module in model.modules():
                if isinstance(module, torch.nn.LayerNorm):
                    module.float()
        encode_image, encode_text = ENCODERS[self.name](model)
        return TorchPeer(
            self.name, model, lambda x: encode_image(x.bfloat16()), encode_text, self.table
        )

    def gradients(self) -> dict[str, np.ndarray]:
        """Published name -> gradient of the last backward pass."""
        found = {n: of_array(p.grad.numpy()) for n, p in self.model.named_parameters()}
        return {name: t.read() for name, t in to_published(found, self.table).items()}


def openai_module() -> ModuleType:
    """OpenAI's clip/model.py alone: the package around it wants pkg_resources."""
    package = importlib.util.find_spec("clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "model.py"
    spec = importlib.util.spec_from_file_location("openai_clip_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _openai(weights: ModelWeights) -> torch.nn.Module:
    return openai.DIALECT.code.build(weights.config)


def _open_clip(weights: ModelWeights) -> torch.nn.Module:
    from open_clip import model

    settings = open_clip.settings_of(weights.config)[open_clip.FILE]["model_cfg"]
    vision = model.CLIPVisionCfg(**settings["vision_cfg"])
    text = model.CLIPTextCfg(**settings["text_cfg"])
    return model.CLIP(settings["embed_dim"], vision, text, quick_gelu=settings["quick_gelu"])


def _transformers(weights: ModelWeights) -> torch.nn.Module:
    from transformers import CLIPConfig, CLIPModel

    settings = dict(huggingface.settings_of(weights.config)[huggingface.FILE])
    del settings["architectures"], settings["model_type"]
    return CLIPModel(CLIPConfig(**settings, attn_implementation="sdpa"))


def _encoder(weights: ModelWeights) -> torch.nn.Module:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    settings = dict(bert.settings_of_bert(weights.config.text)[bert.FILE])
    del settings["architectures"], settings["model_type"]
    config = XLMRobertaConfig(**settings, attn_implementation="sdpa")
    return XLMRobertaModel(config, add_pooling_layer=False)


def _methods(model: Any) -> tuple[Encode, Encode]:
    return model.encode_image, model.encode_text


def _pooled(model: Any) -> tuple[Encode, Encode]:
    return (
        lambda x: model.get_image_features(pixel_values=x).pooler_output,
        lambda ids: model.get_text_features(input_ids=ids).pooler_output,
    )


def _first_token(model: Any) -> tuple[Encode, Encode]:
    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != model.config.pad_token_id).long()
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]

    return encode_text, encode_text


# name -> modules that it needs, how it is built, its names; of whole models, of encoders
PEERS: Mapping[str, tuple[tuple[str, ...], Callable[[ModelWeights], Any], Dialect]] = {
    "openai": (("torch", "clip"), _openai, openai.DIALECT),
    "open_clip": (("torch", "open_clip"), _open_clip, open_clip.DIALECT),
    "transformers": (("torch", "transformers"), _transformers, huggingface.DIALECT),
}
TEXT_PEERS: Mapping[str, tuple[tuple[str, ...], Callable[[ModelWeights], Any], Dialect]] = {
    "transformers encoder": (("torch", "transformers"), _encoder, bert.DIALECT),
}
ENCODERS = {
    "openai": _methods,
    "open_clip": _methods,
    "transformers": _pooled,
    "transformers encoder": _first_token,
}


def torch_peers(
    weights: ModelWeights, skip: Callable[[str], None], *, names: tuple[str, ...] | None = None
) -> list[TorchPeer]:
    """The torch peers that are installed, in eval mode, with their own copy of the weights.

    Args:
        weights: the model.
        skip: told what is not installed.
        names: keys of PEERS, or of TEXT_PEERS where the text tower is an encoder; None for all.
    """
    alone = any(part.tower is type(weights.config.text) for part in bert.BERTS)
    known = TEXT_PEERS if alone else PEERS
    variables = {n: v for n, v in weights.variables().items() if not alone or side_of(n) == "text"}
    logging.getLogger("transformers").setLevel(logging.ERROR)
    peers = []
    for name in names or known:
        modules, build, dialect = known[name]
        towers = (weights.config.text,) if alone else (weights.config.image, weights.config.text)
        try:
            table = dialect.names.writing(towers)
        except CheckpointError as error:
            skip(f"{name}: {error}")
            continue
        if not measuring.installed(*modules):
            absent = [module for module in modules if not measuring.installed(module)]
            skip(f"{name}: {' and '.join(absent)} not installed")
            continue
        import torch

        torch.set_num_threads(measuring.CORES)
        model = build(weights).float().eval()
        arrays = to_foreign({n: of_array(v.d) for n, v in variables.items()}, table)
        state = {n: torch.tensor(np.ascontiguousarray(t.read())) for n, t in arrays.items()}
        found = model.load_state_dict(state, strict=False)
        assert not found.unexpected_keys, found
        assert all(k.endswith(("position_ids", "attn_mask")) for k in found.missing_keys), found
        peers.append(TorchPeer(name, model, *ENCODERS[name](model), table))
    return peers


def ways_in_torch(
    peer: TorchPeer,
    lowered: TorchPeer | None,
    encode: str,
    array: np.ndarray,
    precision: str,
    compiled: bool = False,
) -> list[measuring.Contender]:
    """The ways to run a peer's `encode` for one batch; in bf16 by autocast or with bf16 weights.

    Call them inside `torch_session`.

    Args:
        peer: whose code.
        lowered: the same in bf16; None where only fp32 is asked for.
        encode: `encode_image` or `encode_text`.
        array: one batch.
        precision: `fp32` or `bf16`.
        compiled: through torch.compile, too, which takes up to a minute.
    """
    import torch

    inputs = torch.from_numpy(array)

    def call(encoder: Encode, autocast: bool) -> np.ndarray:
        # nested in the context that is held open, so the weights it has cast stay cast
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return encoder(inputs).float().numpy()

    contender = partial(measuring.Contender, peer.name, precision, items=len(array))
    ways = [(getattr(peer, encode), False, "")]
    if precision == "bf16":
        assert lowered is not None
        ways = [
            (getattr(peer, encode), True, "autocast"),
            (getattr(lowered, encode), False, "bf16 weights"),
        ]
    if compiled:
        ways.append((torch.compile(ways[-1][0]), False, f"{ways[-1][2]} torch.compile".strip()))
    return [contender(call=partial(call, way, auto), note=note) for way, auto, note in ways]
