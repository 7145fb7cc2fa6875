"""The sizes of other families are those that open_clip builds by the same names."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nnclip.convert.dialect import Source
from nnclip.convert.source import DIALECTS
from nnclip.convert.tensors import Tensor
from nnclip.convert.torch_to_h5 import plan
from nnclip.graph.config import ClipConfig
from nnclip.training.families import FAMILIES

pytestmark = pytest.mark.torch
OWN = ("hf_tokenizer_name", "tokenizer_kwargs")  # a run from scratch has another tokenizer


def of_open_clip(name: str) -> ClipConfig:
    """What nnclip reads of the names and shapes alone."""
    import open_clip
    import torch
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.pretrained import get_pretrained_cfg

    settings: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name))
    for key in OWN:
        settings["text_cfg"].pop(key, None)
    told = copy.deepcopy(settings)
    kind = CustomTextCLIP if told.pop("custom_text", False) else CLIP
    with torch.device("meta"):
        state = (CoCa if "multimodal_cfg" in told else kind)(**told).state_dict()
    types = {k: str(v.dtype).removeprefix("torch.") for k, v in state.items()}
    tensors = {k: Tensor(tuple(v.shape), types[k], lambda: None) for k, v in state.items()}
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    known = ("mean", "std", "interpolation", "resize_mode")
    images = {k: v for k, v in get_pretrained_cfg(name, tag).items() if k in known}
    file = {"open_clip_config.json": {"model_cfg": settings, "preprocess_cfg": images}}
    source = Source(Path("x"), "safetensors file", (Path("x"),), tensors, settings=file)
    return plan(source, DIALECTS["open_clip"]).what.config


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_what_open_clip_builds(name: str) -> None:
    found = of_open_clip(name)
    text = dataclasses.replace(found.text, vocabulary=FAMILIES[name].text.vocabulary)
    assert dataclasses.replace(found, text=text) == FAMILIES[name]
