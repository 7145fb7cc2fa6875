"""Sizes of models spelled out: `vit:64,8,128,3+gpt:128,3`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnclip.errors import ConfigError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig, TextConfig, VitConfig
from nnclip.graph.towers import ImageTower, TextTower
from nnclip.image import Preprocess

VOCABULARY, CONTEXT = 49408, 77  # until a run's tokenizer and --context-length say more
HEAD = 64  # width of a head where their number is not given, as OpenAI's


@dataclass(frozen=True)
class Kind:
    """A kind of tower that can be spelled.

    Attributes:
        numbers: what they mean, in order.
        optional: how many of the last may be left out.
        make: the numbers -> the tower.
    """

    numbers: tuple[str, ...]
    optional: int
    make: Callable[..., Any]


def _blocks(width: int, layers: int, heads: int = 0) -> BlockConfig:
    heads = heads or max(width // HEAD, 1)
    if width % heads:
        raise ConfigError(f"found {heads} heads for a width of {width}, expected a divisor of it")
    return BlockConfig(width, layers, heads, 4 * width)


def _vit(resolution: int, patch: int, width: int, layers: int, heads: int = 0) -> ImageTower:
    if resolution % patch:
        raise ConfigError(f"found patches of {patch} for {resolution} pixels, expected a divisor")
    return VitConfig(Preprocess(resolution), patch, _blocks(width, layers, heads))


def _resnet(resolution: int, width: int, *layers: int) -> ImageTower:
    if resolution % 32 or width % 2:
        raise ConfigError(
            f"found {resolution} pixels and a width of {width}, expected a multiple of 32 and an "
            "even one"
        )
    stages = layers[0], layers[1], layers[2], layers[3]
    return ClipResNetConfig(Preprocess(resolution), stages, width, max(width * 32 // HEAD, 1))


def _gpt(width: int, layers: int, heads: int = 0) -> TextTower:
    return TextConfig(VOCABULARY, CONTEXT, _blocks(width, layers, heads))


IMAGES = {
    "vit": Kind(("RESOLUTION", "PATCH", "WIDTH", "LAYERS", "HEADS"), 1, _vit),
    "resnet": Kind(("RESOLUTION", "WIDTH", "LAYERS", "LAYERS", "LAYERS", "LAYERS"), 0, _resnet),
}
TEXTS = {"gpt": Kind(("WIDTH", "LAYERS", "HEADS"), 1, _gpt)}
EMBED = "embed"


def is_spelled(name: str) -> bool:
    """Whether the name of a size spells it out."""
    return ":" in name


def spelled_size(name: str) -> ClipConfig:
    """The size that a name spells.

    Args:
        name: `KIND:NUMBERS+KIND:NUMBERS[+embed:WIDTH]`, an image tower and a text tower; both end
            in as many dimensions as the text tower is wide, or in `embed`.

    Raises:
        ConfigError: it cannot be read, or the numbers do not fit each other.
    """
    image, text, *rest = [*name.split("+"), "", ""][: max(2, name.count("+") + 1)]
    tower, reader = _tower(name, image, IMAGES), _tower(name, text, TEXTS)
    embed = reader.blocks.width
    if rest:
        kind, _, number = rest[0].partition(":")
        if kind != EMBED or len(rest) > 1 or not number.isdecimal() or not int(number):
            raise _wrong(name, rest[0])
        embed = int(number)
    return ClipConfig(embed, tower, reader)


def _tower(name: str, part: str, kinds: dict[str, Kind]) -> Any:
    word, _, given = part.partition(":")
    numbers = given.split(",")
    kind = kinds.get(word)
    most = len(kind.numbers) if kind else 0
    if kind is None or not most - kind.optional <= len(numbers) <= most:
        raise _wrong(name, part)
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise _wrong(name, part)
    try:
        return kind.make(*map(int, numbers))
    except ConfigError as error:
        raise ConfigError(f"--model {name}: {part}: {error}") from error


def _wrong(name: str, part: str) -> ConfigError:
    forms = [forms_of(kinds) for kinds in (IMAGES, TEXTS)]
    return ConfigError(
        f"--model {name}: found {part!r}, expected {' or '.join(forms[0])}, then +, then "
        f"{' or '.join(forms[1])}, then, if wanted, +{EMBED}:WIDTH; numbers above 0"
    )


def forms_of(kinds: dict[str, Kind]) -> list[str]:
    """How each kind is spelled: `gpt:WIDTH,LAYERS[,HEADS]`."""
    forms = []
    for word, kind in kinds.items():
        needed = len(kind.numbers) - kind.optional
        more = "".join(f"[,{number}]" for number in kind.numbers[needed:])
        forms.append(f"{word}:{','.join(kind.numbers[:needed])}{more}")
    return forms
