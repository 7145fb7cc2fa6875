"""The wheel, in a fresh environment of every Python here, from an empty folder."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import suppress

import pytest
from PIL import Image

from tests.package.conftest import ROOT, interpreters, run

PYTHONS = interpreters()
ENDS = list(PYTHONS)[:1] + list(PYTHONS)[-1:]  # the oldest and the newest
MOST = 20_000_000  # bytes
# The oldest systems that the wheels ask for: OpenVINO names glibc 2.31 on aarch64.
PLATFORMS = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_31",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)


def test_the_wheel_holds_what_is_needed_and_no_more(wheel):
    assert wheel.stat().st_size <= MOST
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"nnclip/py.typed", "nnclip/_assets/nnclip.h5", "nnclip/page/style.css"}
    assert wanted <= names
    assert any(name.endswith("bpe_simple_vocab_16e6.txt.gz") for name in names)
    about = wheel.name.rsplit("-", 3)[0] + ".dist-info"
    assert {name.split("/")[0] for name in names} == {"nnclip", about}
    text = next(n for n in names if n.endswith("METADATA"))
    about = zipfile.ZipFile(wheel).read(text).decode()
    for line in (
        "Requires-Python: >=3.10",
        "License-Expression: Apache-2.0",
        "Provides-Extra: page",
    ):
        assert line in about
    assert "# nnclip" in about  # the README
    assert "Requires-Dist: nnabla" not in about.split("Provides-Extra")[0]


def environment(uv, python, wheel, folder, extras):
    """A virtual environment with the wheel; its folder of programs."""
    subprocess.run([uv, "venv", "--quiet", "-p", python, folder], check=True)
    program = folder / "bin" / "python"
    source = f"{wheel}[{extras}]" if extras else wheel
    install = [uv, "pip", "install", "--quiet", "-p", program, source]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


ASK = """
import json, nnclip, numpy as np
from PIL import Image
model = nnclip.load(precision="fp32")
print(json.dumps({
    "version": nnclip.__version__,
    "ids": nnclip.tokenize("a red circle")[0].tolist(),
    "image": model.encode_image(nnclip.preprocess(Image.open("a.png"))[None])[0].tolist(),
    "text": model.encode_text(model.tokenize(["a red circle"]))[0].tolist(),
}))
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What the checkout itself answers, with NNabla."""
    folder = tmp_path_factory.mktemp("here")
    Image.new("RGB", (90, 60), "red").save(folder / "a.png")
    done = run(sys.executable, "-W", "ignore", "-c", ASK, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.heavy
@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_answers(version, uv, wheel, tmp_path, clean_environment, answer):
    bin_ = environment(uv, PYTHONS[version], wheel, tmp_path / "venv", "")
    folder = tmp_path / "empty"
    folder.mkdir()
    where = {"cwd": folder, "env": clean_environment}
    Image.new("RGB", (90, 60), "red").save(folder / "a.png")
    done = run(bin_ / "python", "-c", ASK, **where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answer  # features too: to the last bit

    assert run(bin_ / "nnclip", "--version", **where).stdout == f"nnclip {answer['version']}\n"
    helped = run(bin_ / "nnclip", "--help", **where)
    assert helped.returncode == 0 and "train-heads" in helped.stdout
    told = run(bin_ / "nnclip", "classify", "a.png", "-t", "a red circle", "-t", "a dog", **where)
    assert told.returncode == 0, told.stderr
    refused = run(bin_ / "nnclip", "embed", ".", "-o", "e", **where)
    assert refused.returncode == 2
    assert "pip install 'nnclip[search]'" in refused.stderr and "Traceback" not in refused.stderr
    refused = run(bin_ / "nnclip-train", "--train-txt-path", "x.csv", **where)
    assert refused.returncode == 2
    assert "training needs NNabla" in refused.stderr or "found no" in refused.stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    "version",
    [pytest.param(one, marks=() if one in ENDS else pytest.mark.long) for one in PYTHONS],
)
def test_every_command_runs(version, uv, wheel, tmp_path, clean_environment):
    bin_ = environment(
        uv, PYTHONS[version], wheel, tmp_path / "venv", "search,evaluate,int8,onnx,draw,page,serve"
    )
    folder = tmp_path / "empty"
    (folder / "images").mkdir(parents=True)
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (90, 60), colour).save(folder / "images" / f"{colour}.png")
    rows = "".join(f"images/{c}.png\ta {c} square\n" for c in ("red", "blue", "green"))
    (folder / "pairs.csv").write_text("filepath\ttitle\n" + rows)
    commands = [
        "classify images/red.png -t red -t blue",
        "embed images -o e",
        "search red -i e --json",
        "index e",
        "add e images",
        "duplicates e",
        "update e",
        "evaluate retrieval pairs.csv --json",
        "bench --json",
        "export --to openvino -o ir",
        "export --to onnx -o onnx",
        "classify images/red.png -m ir -t red -t blue",
        "classify images/red.png -m onnx -t red -t blue",
        "models --here",
        "doctor",
    ]
    for command in commands:
        done = run(bin_ / "nnclip", *command.split(), cwd=folder, env=clean_environment)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr
    refused = run(bin_ / "nnclip", *["export", "--to", "nnp", "-o", "nnp"], cwd=folder,
                  env=clean_environment)  # fmt: skip
    assert refused.returncode == 2 and "needs NNabla" in refused.stderr
    for face, place in (("serve", "ready"), ("page", "")):
        assert b"{" in answer_of(bin_ / "nnclip", face, place, cwd=folder, env=clean_environment)


def answer_of(program, face, place, **where):
    """What a face answers under an address, once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(program), face, "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **where, **quiet) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, f"nnclip {face} ended with {process.returncode}"
                with suppress(OSError):
                    address = f"http://127.0.0.1:{port}/{place}"
                    with urllib.request.build_opener().open(address, timeout=5) as response:
                        return response.read()
                time.sleep(0.2)
            raise AssertionError(f"nnclip {face} does not answer")
        finally:
            process.terminate()


@pytest.mark.heavy
def test_uv_installs_it_as_a_tool(uv, wheel, tmp_path, clean_environment):
    folders = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    environment = {**clean_environment, **folders}
    done = run(uv, "tool", "install", "-p", sys.executable, wheel, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert {"nnclip", "nnclip-train"} <= {path.name for path in (tmp_path / "bin").iterdir()}
    told = run(tmp_path / "bin" / "nnclip", "classify", cwd=tmp_path, env=clean_environment)
    assert told.returncode == 0 and "%" in told.stdout, told.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("platform", PLATFORMS)
def test_requirements_have_wheels_for_every_platform(platform, uv, tmp_path):
    out = tmp_path / "requirements.txt"
    command = [uv, "pip", "compile", "--quiet", "--only-binary", ":all:"]
    command += ["--python-version", "3.13", "--python-platform", platform]
    command += ["--extra", "search", "--extra", "page", ROOT / "pyproject.toml", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "openvino==" in out.read_text() and "nnabla" not in out.read_text()
