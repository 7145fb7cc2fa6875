"""The model and the image processor that another library builds of a checkpoint by itself.

Nothing here looks at what nnclip has read: it is what conversions are held against.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nnclip.convert import huggingface, open_clip
from nnclip.convert.dialect import Dialect, Source
from nnclip.convert.reference import openai_code
from nnclip.errors import CheckpointError
from nnclip.image import CLIP_MEAN, CLIP_STD


@dataclass(frozen=True)
class Built:
    """What a library made.

    Attributes:
        model: with the checkpoint's weights in float32.
        prepare: an image -> (3, R, R) float32; None if the checkpoint has no processor.
    """

    model: torch.nn.Module
    prepare: Callable[[Image.Image], np.ndarray] | None


def build_by_library(source: Source, dialect: Dialect) -> Built | None:
    """What the dialect's library makes of the checkpoint; None if it cannot tell all by itself.

    Raises:
        CheckpointError: the library refuses it.
    """
    builder = _BUILDERS.get(dialect.name)
    if builder is None:
        return None
    try:
        return builder(source)
    except ImportError:
        raise
    except Exception as error:  # another library's own, of any kind
        raise CheckpointError(
            f"{source.path}: {dialect.name}'s own code cannot build it ({error})"
        ) from error


def _openai(source: Source) -> Built:
    state = {name: torch.from_numpy(t.read().copy()) for name, t in source.tensors.items()}
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


def _open_clip(source: Source) -> Built | None:
    from open_clip import create_model_and_transforms

    told = source.settings.get(open_clip.FILE)
    if told is None or len(source.files) > 1:
        return None
    whole = told if "model_cfg" in told else {"model_cfg": told}
    file = source.files[0]
    suffix = file.suffix if file.suffix == ".safetensors" else ".bin"
    links = {f"open_clip_model{suffix}": file}
    with _folder(links) as folder, _quiet():
        (folder / open_clip.FILE).write_text(json.dumps(whole), encoding="utf-8")
        for other in source.files[0].parent.glob("*.json"):  # tokenizers
            if not (folder / other.name).exists():
                (folder / other.name).symlink_to(other.resolve())
        model, _, transform = create_model_and_transforms(f"local-dir:{folder}")
    return Built(model.eval(), lambda image: np.asarray(transform(image)))


def _huggingface(source: Source) -> Built:
    import transformers

    folder = source.files[0].parent
    files = {path.name: path for path in folder.glob("*.json")}
    if len(source.files) == 1:
        suffix = source.files[0].suffix
        name = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
        files = {k: v for k, v in files.items() if not k.endswith(".index.json")}
        files[name] = source.files[0]
    else:
        files |= {path.name: path for path in source.files}
    with _folder(files) as links, _quiet():
        transformers.utils.logging.disable_progress_bar()
        model = transformers.AutoModel.from_pretrained(links, dtype=torch.float32)
        if not any((links / name).exists() for name in huggingface.FILES[1:]):
            return Built(model.eval(), None)
        processor: Any = transformers.AutoImageProcessor.from_pretrained(links, backend="pil")
    return Built(
        model.eval(), lambda image: processor(image, return_tensors="np")["pixel_values"][0]
    )


_BUILDERS: dict[str, Callable[[Source], Built | None]] = {
    "openai": _openai,
    "open_clip": _open_clip,
    "huggingface": _huggingface,
}


@contextmanager
def _folder(files: dict[str, Path]) -> Iterator[Path]:
    """A folder with links to these files under the names that the library looks for."""
    with tempfile.TemporaryDirectory() as name:
        for link, file in files.items():
            (Path(name) / link).symlink_to(file.resolve())
        yield Path(name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries tell while they build."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
