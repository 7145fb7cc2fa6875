"""Prompt templates and class names: how a list of classes becomes texts.

Source of the templates and of CIFAR's names: Radford et al. 2021, section 3.1.4, and the prompts
that OpenAI published with it.
"""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from nnclip.errors import ConfigError, DataError
from nnclip.files import read_text

Templates = tuple[str, ...]

PLAIN_TEMPLATE: Templates = ("a photo of a {}.",)

# CIFAR's eighteen: nine ways to describe a picture, each of "a" and of "the" thing.
SIMPLE_TEMPLATES: Templates = tuple(
    pattern.format(article)
    for article in ("a", "the")
    for pattern in (
        "a photo of {} {{}}.",
        "a blurry photo of {} {{}}.",
        "a black and white photo of {} {{}}.",
        "a low contrast photo of {} {{}}.",
        "a high contrast photo of {} {{}}.",
        "a bad photo of {} {{}}.",
        "a good photo of {} {{}}.",
        "a photo of {} small {{}}.",
        "a photo of {} big {{}}.",
    )
)

# The eighty that OpenAI averages for ImageNet, in its order and with its articles.
IMAGENET_TEMPLATES: Templates = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)

TEMPLATES = MappingProxyType(
    {"plain": PLAIN_TEMPLATE, "simple": SIMPLE_TEMPLATES, "imagenet": IMAGENET_TEMPLATES}
)

# Class names in the order of the data sets' labels; "_" is a blank within a name.
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
plain plate poppy porcupine possum rabbit raccoon ray road rocket
rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR10_CLASSES = tuple(_CIFAR10.split())
CIFAR100_CLASSES = tuple(name.replace("_", " ") for name in _CIFAR100.split())

# Questions for the demo: what can be told apart, and a text for each answer.
PRESETS = MappingProxyType(
    {
        "Hair colour": tuple(
            f"A photo of a person with {colour} hair"
            for colour in ("black", "brown", "blond", "red", "grey", "white", "blue", "pink")
        ),
        "Expression": tuple(
            f"A photo of a person with {expression} expression"
            for expression in (
                "a happy",
                "a sad",
                "an angry",
                "a surprised",
                "a frightened",
                "a disgusted",
                "a neutral",
            )
        ),
    }
)


def fill(templates: str | Sequence[str], class_names: str | Sequence[str]) -> list[list[str]]:
    """Every class name in every template.

    >>> fill(["a {}.", "the {}."], ["cat", "dog"])
    [['a cat.', 'the cat.'], ['a dog.', 'the dog.']]

    Args:
        templates: one or more, each with one `{}` for the name; other braces stand for themselves.
        class_names: one or more.

    Returns:
        One list per class, one text per template, for averaging the embeddings of a class.

    Raises:
        DataError: no templates, no names, an empty name, or a template without exactly one `{}`.
    """
    templates = [templates] if isinstance(templates, str) else list(templates)
    names = [class_names] if isinstance(class_names, str) else list(class_names)
    if not templates or not names:
        raise DataError(
            f"{len(templates)} templates and {len(names)} class names, expected one of each or more"
        )
    for template in templates:
        if template.count("{}") != 1:
            raise DataError(f"the template {template!r} needs one {{}}, where the name goes")
    for index, name in enumerate(names):
        if not name.strip():
            raise DataError(f"class name {index} is empty")
    return [[template.replace("{}", name) for template in templates] for name in names]


def load_class_names(path: str | Path) -> list[str]:
    """Class names from a text file, one per line in the order of the labels.

    Raises:
        DataError: the file cannot be read, holds no names, or an empty line among them, which
            would shift the labels after it.
    """
    try:
        lines = read_text(path).rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read class names from {path}: {error}") from error
    names = [line.strip() for line in lines]
    if not names:
        raise DataError(f"{path} is empty, expected class names, one per line")
    if "" in names:
        raise DataError(f"{path} line {names.index('') + 1} is empty, expected a class name")
    return names


def read_templates(given: str, flag: str) -> Sequence[str]:
    """Templates by name, as one text, or of a file with one a line.

    Args:
        given: a name of TEMPLATES, a text with `{}`, or a file.
        flag: what messages call it.

    Raises:
        ConfigError: it is none of these.
        DataError: the file cannot be read, or a template has no `{}`, or more than one.
    """
    if "{}" in given:
        found: Sequence[str] = [given]
    elif given in TEMPLATES:
        found = TEMPLATES[given]
    elif Path(given).is_file():
        found = load_class_names(given)
    else:
        raise ConfigError(
            f"{flag} {given!r}: expected {', '.join(TEMPLATES)}, a text with {{}} or a file of "
            "such texts"
        )
    fill(found, "x")
    return found
