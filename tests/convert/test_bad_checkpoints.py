"""What is no checkpoint, not whole or not well-meant: one sentence, and nothing is run."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnclip.convert import h5_to_torch, torch_to_h5
from nnclip.convert.source import DIALECTS
from nnclip.convert.torch_files import read_torch
from nnclip.errors import CheckpointError
from nnclip.weights.h5 import read_h5, write_h5
from tests.lazy import lazy

safetensors_torch = lazy("safetensors.torch")
torch = lazy("torch")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor:torch.jit.TracerWarning"),
]


def refused(path, expected, **options):
    """The conversion stops with an error that matches, and leaves nothing behind."""
    folder = path.parent / "out"
    with pytest.raises(CheckpointError, match=expected) as caught:
        torch_to_h5.convert_file(path, folder / "out.h5", **options)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert not folder.exists() or not list(folder.iterdir())


@pytest.fixture
def state():
    """A small state dictionary of OpenAI's code."""
    from nnclip.convert.openai import openai_code

    return openai_code().CLIP(16, 16, 1, 64, 8, 8, 49408, 64, 1, 1).state_dict()


@pytest.fixture
def saved(tmp_path):
    def save(state) -> Path:
        torch.save(state, tmp_path / "small.pt")
        return tmp_path / "small.pt"

    return save


class Evil:
    """Asks whoever unpickles it to make a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("wrapping", ["torch.save", "old torch.save", "plain pickle"])
def test_a_pickle_that_would_run_something_is_refused(wrapping, tmp_path, state):
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    evil = {**state, "extra": Evil(marker)}
    if wrapping == "plain pickle":
        path.write_bytes(pickle.dumps(Evil(marker)))
    else:
        new = wrapping == "torch.save"
        torch.save(evil, path, _use_new_zipfile_serialization=new)
    refused(path, "posix.system.*refused without running it")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists()  # so the file would have worked


@pytest.mark.parametrize(
    "program",
    [
        b'cbuiltins\neval\n(S\'open("{}", "w")\'\ntR.',
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x10open('{}', 'w')\x85R.",
        b"c__builtin__\ngetattr\n.",
        b"ctorch._utils\n_rebuild_wrapper_subclass\n.",
        b"ctorch\nload\n.",
        b"(S'touch {}'\nios\nsystem\n.",
    ],
)
def test_no_other_function_can_be_reached(program, tmp_path, archive):
    """Inside an archive whose other parts are right."""
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    with zipfile.ZipFile(archive.path) as good, zipfile.ZipFile(path, "w") as bad:
        for entry in good.infolist():
            content = good.read(entry)
            if entry.filename.endswith("/data.pkl"):
                content = program.replace(b"{}", str(marker).encode())
            bad.writestr(entry, content)
    with pytest.raises(CheckpointError):
        read_torch(path)
    assert not marker.exists()


def test_the_code_of_an_archive_is_not_even_parsed(tmp_path, archive):
    path = tmp_path / "odd.pt"
    with zipfile.ZipFile(archive.path) as good, zipfile.ZipFile(path, "w") as odd:
        for entry in good.infolist():
            odd.writestr(entry, b"no code" if "/code/" in entry.filename else good.read(entry))
    torch_to_h5.convert_file(archive.path, tmp_path / "good.h5")
    torch_to_h5.convert_file(path, tmp_path / "odd.h5")
    good, odd = (read_h5(tmp_path / name).arrays for name in ("good.h5", "odd.h5"))
    assert good.keys() == odd.keys()
    for name, array in good.items():
        np.testing.assert_array_equal(array, odd[name])


def test_no_torch_is_imported(tmp_path, archive):
    """Reading does not need it, so nothing of torch can be tricked into running a file."""
    script = (
        "import sys; sys.modules['torch'] = None; from nnclip.convert.torch_to_h5 import main; "
        f"sys.exit(main([{str(archive.path)!r}, {str(tmp_path / 'out.h5')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["archive", "old", "safetensors"])
def test_a_truncated_file(kind, part, tmp_path, archive, state):
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pt")
    if kind == "archive":
        shutil.copy(archive.path, path)
    elif kind == "old":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        safetensors_torch.save_file(state, path)
    os.truncate(path, int(part * path.stat().st_size))
    refused(path, "damaged|cut short|torch", dialect="openai")


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_a_changed_byte_of_an_archive(where, archive):
    content = bytearray(archive.path.read_bytes())
    with zipfile.ZipFile(archive.path) as file:
        largest = max(file.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 200 + int(where * (largest.file_size - 200))] ^= 1
    archive.path.write_bytes(content)
    refused(archive.path, "damaged")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.bin"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x89PNG\r\n", b"{}", b"\x80\x02}q\0."])
def test_no_checkpoint_at_all(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "found")


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    refused(tmp_path / "a.pt", "zip file without a data.pkl")


def test_an_archive_that_unpacks_to_more_than_it_is(archive, tmp_path):
    with zipfile.ZipFile(archive.path) as good, zipfile.ZipFile(tmp_path / "a.pt", "w") as bomb:
        for entry in good.infolist():
            bomb.writestr(entry, good.read(entry), compress_type=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "a.pt", "compressed tensors")


def test_a_missing_file_and_a_folder_without_weights(tmp_path):
    refused(tmp_path / "none.pt", "no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "found none of .*model.safetensors")


def test_a_whole_pickled_model_is_named(saved):
    refused(saved(torch.nn.Linear(2, 2)), "asks for torch.nn.modules.linear.Linear")


def test_a_missing_tensor_is_named(saved, state):
    del state["transformer.resblocks.0.mlp.c_fc.bias"]
    refused(saved(state), "transformer.resblocks.0.mlp.c_fc.bias: missing", dialect="openai")


def test_a_missing_tensor_around_the_blocks_is_named(saved, state):
    del state["visual.proj"]
    refused(saved(state), r"tensor visual.proj: missing", dialect="openai")


def test_an_extra_tensor_is_named(saved, state):
    state["visual.adapter.weight"] = torch.zeros(3)
    refused(saved(state), "visual.adapter.weight: found with shape", dialect="openai")


def test_a_wrong_shape_is_named_with_both(saved, state):
    state["ln_final.weight"] = torch.zeros(65)
    expected = r"tensor ln_final.weight: found shape \(65,\), expected \(64,\)"
    refused(saved(state), expected, dialect="openai")


def test_the_wrong_dialect(saved, state):
    refused(saved(state), "found no config.json", dialect="huggingface")
    refused(saved(state), "no dialect 'jax'", dialect="jax")


def test_what_a_resnet_lacks_is_named(saved):
    from nnclip.convert.openai import openai_code

    resnet = openai_code().CLIP(16, 32, (1, 1, 1, 1), 8, None, 8, 50, 64, 1, 1)
    for name in ("visual.bn1.running_mean", "visual.layer3.0.downsample.1.running_var"):
        state = resnet.state_dict()
        del state[name]
        refused(saved(state), f"tensor {name}: missing.*ResNet", dialect="openai")


def test_a_tower_of_timm_is_refused_by_name(saved, state):
    state = {k.replace("visual.", "visual.trunk."): t for k, t in state.items()}
    refused(
        saved(state),
        "an image tower of timm, expected an open_clip_config.json",
        dialect="open_clip",
    )


def test_openai_and_open_clip_are_not_confused(saved, state, tmp_path):
    """Their names are the same and their activations differ: a guess would be silently wrong."""
    refused(saved(state), "--dialect openai or --dialect open_clip")
    refused(saved(state), "--activation and --heads", dialect="open_clip")
    sizes = {"input_resolution": 16, "context_length": 8, "vocab_size": 50}  # of an archive
    archived = saved({**state, **{name: torch.tensor(n) for name, n in sizes.items()}})
    done = torch_to_h5.convert_file(archived, tmp_path / "a.h5")
    assert done.dialect.name == "openai"
    assert set(done.dropped) == sizes.keys()


def test_what_the_settings_change_is_refused(huggingface):
    path = huggingface.path / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["hidden_act"] = "mish"
    path.write_text(json.dumps(config))
    refused(huggingface.path, "activation: found mish, expected one of quick_gelu")
    path.write_text("{")
    refused(huggingface.path, "found no JSON file")
    path.unlink()
    refused(huggingface.path, "found no config.json")


def test_heads_that_do_not_divide(saved, state):
    given = {"image_heads": 7, "text_heads": 1}
    refused(saved(state), "found 7, expected a divisor", dialect="openai", given=given)


def test_from_the_command_line(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    for script in ("torch_to_h5.py", "h5_to_torch.py"):
        words = [str(path), str(tmp_path / "out.h5"), "--dialect", "openai"]
        done = subprocess.run(
            [sys.executable, f"convert/{script}", *words], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"{script}: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "marker").exists()


def test_what_a_dialect_cannot_say(small_h5, other_h5, tmp_path):
    for h5, found in ((small_h5, "heads: found 2"), (other_h5, "activation: found gelu")):
        with pytest.raises(CheckpointError, match=rf"{found}.*OpenAI's code knows only"):
            h5_to_torch.convert_h5(h5, tmp_path / "out.pt", DIALECTS["openai"])
    assert not (tmp_path / "out.pt").exists()


def test_the_settings_of_another_model_are_not_overwritten(small_h5, other_h5, tmp_path):
    h5_to_torch.convert_h5(small_h5, tmp_path / "model", DIALECTS["huggingface"])
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"config.json: describes another model"):
        h5_to_torch.convert_h5(other_h5, tmp_path / "model", DIALECTS["huggingface"])
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_an_h5_of_something_else(tmp_path):
    write_h5(tmp_path / "a.h5", {"conv/W": np.zeros((2, 2), "f4")})
    with pytest.raises(CheckpointError, match=r"a\.h5: found no image tower"):
        h5_to_torch.convert_h5(tmp_path / "a.h5", tmp_path / "out.pt", DIALECTS["openai"])


def test_where_it_cannot_be_written(small_h5, archive):
    with pytest.raises(CheckpointError, match="cannot be written"):
        torch_to_h5.convert_file(archive.path, Path("/proc/none/out.h5"))
    with pytest.raises(CheckpointError, match="cannot be written"):
        h5_to_torch.convert_h5(small_h5, Path("/proc/none/out.pt"), DIALECTS["huggingface"])
    with pytest.raises(CheckpointError, match=r"found the suffix \.onnx"):
        h5_to_torch.convert_h5(small_h5, Path("out.onnx"), DIALECTS["huggingface"])
