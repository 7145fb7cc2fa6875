"""CLIP for NNabla: images and texts in one space.

    import nnclip

    model = nnclip.load()  # the bundled model; or an .h5 file, or a name such as "ViT-B/32"
    model.run("image.jpg", ["a dog", "a cat"])  # the probability of each text

`nnclip.clip` is the face of the library: `load`, `available_models`, `preprocess`, `tokenize`,
`encode_image`, `encode_text`, `logits` and the class `CLIP` are offered here, too. They are
imported when first asked for: `import nnclip` alone takes milliseconds. Everything else feeds the
graph, runs it or reads what it gives.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnclip.clip import (
        CLIP,
        available_models,
        current,
        encode_image,
        encode_text,
        load,
        logits,
        preprocess,
        tokenize,
    )

__version__ = "0.2.0"
__all__ = [
    "CLIP",
    "available_models",
    "current",
    "encode_image",
    "encode_text",
    "load",
    "logits",
    "preprocess",
    "tokenize",
]


def __getattr__(name: str) -> Any:
    """One of the names in `__all__`, from `nnclip.clip`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnclip import clip

    return getattr(clip, name)


def __dir__() -> list[str]:
    """What `help` and completion show."""
    return [*__all__, "clip"]
