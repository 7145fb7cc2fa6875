"""Checkpoints as trainers leave them: wrappers above the tensors, prefixes before their names."""

import argparse

import numpy as np
import pytest

from nnclip.convert import torch_to_h5
from nnclip.convert.source import open_source
from nnclip.convert.tensors import of_array
from nnclip.convert.unwrap import unwrap
from nnclip.errors import CheckpointError
from nnclip.weights.h5 import read_h5
from tests.convert.conftest import custom_text, huggingface_folder, open_clip_safetensors
from tests.lazy import lazy

torch = lazy("torch")

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
    from safetensors.torch import save_file

    save_file({"a": torch.full((2,), 3.0, dtype=torch.float16)}, tmp_path / name)
    source = open_source(tmp_path)
    assert (source.kind, source.tensors["a"].dtype) == ("safetensors file", "float16")
    assert source.tensors["a"].read().tolist() == [3, 3]


@pytest.mark.torch
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": {f"model.{k}": t for k, t in state.items()}, "epoch": 2},
        lambda state: {"model": {f"module._orig_mod.{k}": t for k, t in state.items()}},
        lambda state: {
            "n_averaged": torch.tensor(3),
            **{f"module.{k}": t for k, t in state.items()},
        },
    ],
    ids=["lightning", "compiled and parallel", "average"],
)
@pytest.mark.parametrize("make", [huggingface_folder, open_clip_safetensors, custom_text])
def test_files_of_trainers_are_verified(tmp_path, capsys, make, wrap):
    sample = make(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    name = {"huggingface": "pytorch_model.bin"}.get(sample.dialect, "open_clip_pytorch_model.bin")
    torch.save(wrap(sample.state()), tmp_path / name)
    assert torch_to_h5.main([str(tmp_path), str(tmp_path / "out.h5"), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "verified  text features differ by" in said
    bias = read_h5(tmp_path / "out.h5").arrays.get("logit_bias")
    assert (bias is not None and bias.item() == -4.5) == (make is custom_text)


@pytest.mark.torch
@pytest.mark.parametrize("key", [None, "state_dict_ema"])
def test_the_average_beside_a_model_is_converted_where_it_is_asked_for(tmp_path, capsys, key):
    sample = huggingface_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = sample.state()
    average = {name: 2 * tensor for name, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": average}, tmp_path / "pytorch_model.bin")
    words = [str(tmp_path), str(tmp_path / "out.h5"), *(["--key", key] if key else [])]
    assert torch_to_h5.main(words) == 0
    said = capsys.readouterr().out
    told = "took      state_dict; beside it state_dict_ema, which --key takes"
    assert (f"took      {key}, as --key says" if key else told) in said
    wanted = (average if key else state)["text_model.final_layer_norm.weight"].numpy()
    assert np.array_equal(read_h5(tmp_path / "out.h5").arrays["ln_final/W"], wanted)


@pytest.mark.torch
@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_shards_of_a_narrow_variant_are_found_by_their_index(tmp_path, variant):
    sample = huggingface_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    sample.model.to(torch.float16 if variant == "fp16" else torch.bfloat16)
    sample.model.save_pretrained(tmp_path, variant=variant, max_shard_size="2MB")
    assert (tmp_path / f"model.safetensors.index.{variant}.json").is_file()
    source = open_source(tmp_path)
    assert len(source.files) > 1
    assert {t.dtype for t in source.tensors.values()} == {str(sample.model.dtype)[6:]}
    assert source.tensors.keys() == sample.state().keys()
