"""What a family of towers is in open_clip: names, and what its settings say.

A new family is one file here and one row of `open_clip.IMAGES` or `open_clip.TEXTS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.names import Table
from nnclip.convert.open_clip_images import FILE
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.graph.towers import Tower

SIZES: tuple[Any, ...] = ()  # any value: shapes or the other settings tell it


@dataclass(frozen=True)
class Family:
    """One kind of tower in open_clip's code.

    Attributes:
        tower: the class of its configuration.
        knows: whether the settings of a tower (`vision_cfg` or `text_cfg`) are of this family.
        table: published name -> open_clip's.
        describe: metadata, from the source, the settings of the model and those of the tower.
        settings_of: the settings of a tower of the class; None if it is not of this family.
        custom: whether open_clip builds a model with such a tower as its CustomTextCLIP, whose
            text tower stands below `text.`.
        fold: what is done to the tensors of a model before `table` names them.
    """

    tower: type[Tower]
    knows: Callable[[Settings], bool]
    table: Table
    describe: Callable[[Source, Settings, Settings], dict[str, Any]]
    settings_of: Callable[[Any], Settings | None]
    custom: bool = False
    fold: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict

    def settings_for(self, tower: Tower) -> Settings | None:
        """The settings of a tower of any kind; None if it is not of this family."""
        return self.settings_of(tower) if type(tower) is self.tower else None


def check(where: str, told: Settings, known: Mapping[str, tuple[Any, ...]]) -> None:
    """CheckpointError if a setting is not known, or has a value that is not computed here.

    Args:
        where: the settings' name.
        told: the settings.
        known: key -> the values that nnclip computes, the default first; SIZES for any.
    """
    for key, value in told.items():
        if key not in known:
            raise CheckpointError(f"{FILE}: {where}: found the key {key!r}, which is not known")
        if known[key] and value not in known[key]:
            raise CheckpointError(
                f"{FILE}: {where}: found {key} {value!r}, expected {known[key][0]!r}"
            )


def activation_of(quick: bool, cfg: Settings) -> str:
    """Of the MLPs, by the arguments that torch's GELU takes."""
    told = cfg.get("act_kwargs") or {}
    if not told:
        return "quick_gelu" if quick else "gelu"
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    if quick or set(told) != {"approximate"} or told["approximate"] not in names:
        raise CheckpointError(
            f"{FILE}: act_kwargs: found {dict(told)}, expected approximate as none or tanh, "
            "without quick_gelu"
        )
    return names[told["approximate"]]


def eps_of(cfg: Settings) -> float:
    """Of the layer normalisations."""
    told = cfg.get("norm_kwargs") or {}
    check("norm_kwargs", told, {"eps": SIZES})
    return float(told.get("eps", 1e-5))
