"""Packages that only some parts of nnclip need, and what to say where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnclip.errors import ConfigError

# Import name -> the extra of pyproject.toml that installs it.
EXTRAS = {
    "arabic_reshaper": "evaluate",
    "bidi": "evaluate",
    "emoji": "draw",
    "faiss": "search",
    "fastapi": "serve",
    "gradio": "page",
    "matplotlib": "evaluate",
    "mpi4py": "train",
    "nncf": "int8",
    "onnx": "onnx",
    "open_clip": "torch",
    "orjson": "serve",
    "pillow_heif": "heic",
    "prometheus_client": "serve",
    "psycopg": "postgres",
    "pyarrow": "search",
    "python_multipart": "serve",
    "rawpy": "raw",
    "safetensors": "torch",
    "sklearn": "evaluate",
    "tensorboard": "train",
    "torch": "torch",
    "torchvision": "torch",
    "transformers": "torch",
    "uvicorn": "serve",
    "wandb": "wandb",
    "yaml": "train",
}


def missing(error: ModuleNotFoundError) -> ConfigError | None:
    """What to say of an import that failed; None if no extra would have helped."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return None
    return ConfigError(f"this needs {package}, which is not installed; {how(EXTRAS[package])}")


def how(name: str = "") -> str:
    """The command that installs an extra, else the core: of nnclip installed, or of this checkout.

    No other package is ever named: alone, it might replace what NNabla was built for.
    """
    package = Path(__file__).resolve().parent
    source = "nnclip" if (package / "_assets").is_dir() else str(package.parent)
    return f"pip install '{source}[{name}]'" if name else f"pip install '{source}'"


@contextmanager
def extra() -> Iterator[None]:
    """Inside, the failed import of an optional package is a ConfigError that names its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        told = missing(error)
        if told is None:
            raise
        raise told from error
