"""Checkpoints as trainers leave them: wrappers above the tensors, prefixes before their names."""

import argparse

import numpy as np
import pytest

from nnclip.convert.source import open_source
from nnclip.convert.tensors import of_array
from nnclip.convert.unwrap import unwrap
from nnclip.errors import CheckpointError

NAMES = ("visual.conv1.weight", "logit_scale")


def tensors(prefix="", value=1.0):
    return {prefix + name: of_array(np.full((2, 3), value, "f4")) for name in NAMES}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "model.", "_fsdp_wrapped_module."),
        *("model._orig_mod.", "_orig_mod.module.", "module.model."),
    ],
)
def test_prefixes_of_trainers_are_removed(prefix):
    found = unwrap("file", tensors(prefix))
    assert tuple(found.tensors) == NAMES
    assert found.wrapped
    assert bool(found.notes) == (prefix != "module.")


def test_wrappers_inside_names_are_removed():
    odd = {"a._fsdp_wrapped_module.b._orig_mod.w": of_array(np.zeros(1, "f4"))}
    assert tuple(unwrap("file", odd).tensors) == ("a.b.w",)
    twice = {**odd, "a.b._orig_mod.w": of_array(np.zeros(1, "f4"))}
    with pytest.raises(CheckpointError, match="differ only in"):
        unwrap("file", twice)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "model_ema"])
def test_wrappers_are_opened(key):
    tree = {key: tensors(), "optimizer": {"state": {}}, "epoch": 3}
    assert tuple(unwrap("file", tree).tensors) == NAMES
    nested = {"model": {"state_dict": tensors("module.")}}
    assert tuple(unwrap("file", nested).tensors) == NAMES


def test_of_a_model_and_its_average_the_model_is_taken_and_told():
    tree = {"state_dict_ema": tensors(value=2.0), "state_dict": tensors()}
    found = unwrap("file", tree)
    assert found.tensors["logit_scale"].read()[0, 0] == 1
    assert found.notes == ("took      state_dict; beside it state_dict_ema, which --key takes",)
    assert unwrap("file", tree, "state_dict_ema").tensors["logit_scale"].read()[0, 0] == 2
    with pytest.raises(CheckpointError, match="--key other: found 'state_dict_ema', 'state_dict'"):
        unwrap("file", tree, "other")


def test_the_count_of_an_average_is_left_out():
    found = unwrap("file", {"n_averaged": of_array(np.array(3)), **tensors("module.")})
    assert tuple(found.tensors) == NAMES
    assert "n_averaged" in found.notes[0]


def test_a_prefix_chooses():
    tree = {**tensors("student."), **tensors("teacher.", 2.0)}
    found = unwrap("file", tree, prefix="teacher.")
    assert tuple(found.tensors) == NAMES
    assert found.tensors["logit_scale"].read()[0, 0] == 2
    assert found.notes == ("left out  2 tensors that do not begin with teacher.",)
    with pytest.raises(CheckpointError, match=r"begin with student\., teacher\., expected"):
        unwrap("file", tree, prefix="x.")


@pytest.mark.parametrize("tree", [{}, [], {"epoch": 3}, {"state_dict": {"a": 1}}, None])
def test_what_holds_no_tensors_is_refused(tree):
    with pytest.raises(CheckpointError, match="expected a dictionary of named tensors"):
        unwrap("file", tree)


@pytest.mark.torch
def test_a_file_of_lightning_is_read_and_not_run(tmp_path):
    import torch

    state = {f"model.{name}": torch.ones(2, 3) for name in NAMES}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    whole = {
        "state_dict": state,
        "epoch": 1,
        "hyper_parameters": {"args": argparse.Namespace(lr=0.1)},
        "optimizer_states": [optimizer.state_dict()],
        "loops": {},
    }
    torch.save(whole, tmp_path / "last.ckpt")
    source = open_source(tmp_path / "last.ckpt")
    assert tuple(source.tensors) == NAMES
    assert source.tensors["logit_scale"].read().sum() == 6


@pytest.mark.torch
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.fp16.safetensors"])
def test_safetensors_by_any_name(tmp_path, name):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.full((2,), 3.0, dtype=torch.float16)}, tmp_path / name)
    source = open_source(tmp_path)
    assert (source.kind, source.tensors["a"].dtype) == ("safetensors file", "float16")
    assert source.tensors["a"].read().tolist() == [3, 3]
