"""The captions of the benchmarks, and the reference tokenizers."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from nnclip.text import Tokenizer, openai_tokenizer

REPOSITORY = Path(__file__).parents[2]


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def texts() -> ModuleType:
    return _module("benchmark_texts", REPOSITORY / "benchmarks/texts.py")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return openai_tokenizer()


@pytest.fixture(scope="session")
def openai_reference():
    """OpenAI's own tokenizer; its file is loaded alone, because its package wants setuptools."""
    package = Path(importlib.util.find_spec("clip").origin).parent
    return _module("openai_simple_tokenizer", package / "simple_tokenizer.py").SimpleTokenizer()
