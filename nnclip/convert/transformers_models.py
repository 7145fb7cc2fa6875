"""What a family of whole models is in transformers: its towers, their names and settings.

A new family is one file here and one row of `huggingface.MODELS`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nnclip.convert.dialect import Part, Settings, Source, part, part_shown
from nnclip.convert.names import Rule, Table, same
from nnclip.convert.tensors import Tensor
from nnclip.convert.transformers_tokenizer import of_clip
from nnclip.errors import CheckpointError
from nnclip.graph.towers import Tower
from nnclip.graph.transformer import BlockConfig

FILE = "config.json"
ACTIVATIONS = {  # where names differ
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new", "gelu_fast"), "gelu_tanh"),
    "gelu_python": "gelu",
    "swish": "silu",
}
EVERYWHERE = tuple((where, "projection_dim") for where in ("", "vision_config", "text_config"))
SCALE: Table = MappingProxyType({"logit_scale": same("logit_scale")})


@dataclass(frozen=True)
class Model:
    """One family.

    Attributes:
        kind: the `model_type` that config.json names.
        code: the class that runs it.
        images: its image towers; where no marker shows another, the first.
        texts: its text towers; where no marker shows another, the first.
        scalars: the table of what belongs to the loss.
        processor: the class of the image processor where no file names one.
        tokenizer: metadata of the text tower's tokenizer, of the source and the tower's settings.
        embed: where config.json tells the width of the features: the object, empty for the top,
            and the key.
        renamed: names of other releases, as patterns, and what this table calls them.
    """

    kind: str
    code: str
    images: tuple[Part, ...]
    texts: tuple[Part, ...]
    scalars: Table = SCALE
    processor: str = "CLIPImageProcessor"
    tokenizer: Callable[[Source, Settings], dict[str, Any]] = lambda source, cfg: of_clip(source)
    embed: tuple[tuple[str, str], ...] = EVERYWHERE
    renamed: tuple[tuple[str, str], ...] = ()

    def sides(self, names: Mapping[str, Any]) -> tuple[Part, Part]:
        """The towers that a source with these names has."""
        return part_shown(self.images, names), part_shown(self.texts, names)

    def writers(self, towers: tuple[Tower, ...]) -> tuple[Part, ...] | None:
        """Its parts for these towers, None if it lacks one of them."""
        found = [_fitting(self.images + self.texts, tower) for tower in towers]
        known = tuple(one for one in found if one is not None)
        return known if len(known) == len(found) else None

    def settings(self, vision: Settings, text: Settings, width: int) -> dict[str, Any]:
        """The config.json of a model whose towers have these settings, and features this width."""
        told = {"": {}, "vision_config": dict(vision), "text_config": dict(text)}
        for where, key in self.embed:
            told[where][key] = width
        top = {"architectures": [self.code], "model_type": self.kind, **told.pop("")}
        return {**top, **told}

    def plain(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under the names of the table."""
        found = {}
        for name, tensor in tensors.items():
            for pattern, replacement in self.renamed:
                name = re.sub(pattern, replacement, name)
            found[name] = tensor
        return found


def _fitting(parts: tuple[Part, ...], tower: Tower) -> Part | None:
    return next((p for p in parts if p.tower is type(tower) and p.fits(tower)), None)


def tower_settings(whole: Settings, side: str) -> Settings:
    """The settings of a tower ("vision", "text"), those of early versions before those of today."""
    return {**part(whole, f"{side}_config"), **part(whole, f"{side}_config_dict")}


def activation_of(cfg: Settings, default: str) -> str:
    """Of the MLPs, by nnclip's name."""
    found = cfg.get("hidden_act", cfg.get("activation", default))
    return ACTIVATIONS.get(found, str(found)) if isinstance(found, str) else str(found)


def written_activation(blocks: BlockConfig) -> str:
    """The same by transformers' name."""
    return "gelu_pytorch_tanh" if blocks.activation == "gelu_tanh" else blocks.activation


def check_computed(where: str, cfg: Settings, computed: Mapping[str, tuple[Any, ...]]) -> None:
    """CheckpointError if a setting has a value that nnclip does not compute.

    Args:
        where: what the settings are of.
        cfg: the settings; what is absent has the first of the values.
        computed: setting -> the values that are computed.
    """
    for key, values in computed.items():
        if cfg.get(key, values[0]) not in values:
            raise CheckpointError(
                f"{FILE}: {where}: found {key} {cfg[key]!r}, expected {values[0]!r}"
            )


def both(published: str, foreign: str) -> dict[str, Rule]:
    """The rules of a weight and its bias."""
    return {f"{published}/W": same(f"{foreign}.weight"), f"{published}/b": same(f"{foreign}.bias")}
