"""Threads, forked children and copies of loaded models give what one thread gives."""

import copy
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.engine import available_precisions, compile_step
from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import make_parameters
from nnclip.image import Preprocess
from nnclip.nnabla import nn
from nnclip.weights.model import ModelWeights, save_model

TEXTS = ["a dog", "a cat on a mat"]
DEADLINE = 60  # seconds until a child that hangs is killed
MODELS = 8


def config(number: int) -> ClipConfig:
    """A small model; each number has another shape."""
    width = 64 + 64 * (number % 2)
    return ClipConfig(
        16 + number,
        VitConfig(Preprocess(16 + 8 * (number % 3)), 8, BlockConfig(width, 1, 2, 2 * width)),
        TextConfig(49408, 77, BlockConfig(64, 1, 2, 128)),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of different models."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / f"model-{number}.h5" for number in range(MODELS)]
    for number, path in enumerate(paths):
        save_model(path, ModelWeights(config(number), make_parameters(config(number), number), {}))
    return paths


def images(model: CLIP, count: int = 3) -> np.ndarray:
    size = model.config.image.resolution
    return np.random.default_rng(7).standard_normal((count, 3, size, size)).astype(np.float32)


def answer(model: CLIP) -> np.ndarray:
    """Logits of a few images and texts."""
    return model.logits(images(model), model.tokenize(TEXTS))[0]


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; its status, 0 if it came to its end and Python to its own."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        signal.alarm(DEADLINE)
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1]


def at_once(calls: list[Callable[[], np.ndarray]]) -> list[np.ndarray]:
    """What calls give that begin at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], np.ndarray]) -> np.ndarray:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(run, call) for call in calls]]


@pytest.mark.parametrize("rounds", [1, pytest.param(200, marks=pytest.mark.long)])
def test_loading_asking_and_refreshing_at_once_equals_one_after_the_other(
    files: list[Path], rounds: int
) -> None:
    def loaded(path: Path) -> np.ndarray:
        return half(CLIP(path, precision="fp32"), 0)

    def half(model: CLIP, side: int) -> np.ndarray:  # one tower: each takes 0.1 s to compile
        return (
            model.encode_text(model.tokenize(TEXTS)) if side else model.encode_image(images(model))
        )

    moved = CLIP(files[0], precision="fp32")

    def refreshed() -> np.ndarray:
        moved.parameters()
        moved.refresh()
        return answer(moved)

    sides = [number % 2 for number in range(MODELS)]
    wanted = [loaded(path) for path in files]
    wanted += [half(CLIP(p, precision="fp32"), s) for p, s in zip(files, sides, strict=True)]
    wanted.append(answer(moved))
    for _ in range(rounds):
        asked = [CLIP(path, precision="fp32") for path in files]
        loads = [partial(loaded, path) for path in files]
        questions = [partial(half, model, side) for model, side in zip(asked, sides, strict=True)]
        found = at_once([*loads, *questions, refreshed])
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_variables_are_asked_for_while_others_load(files: list[Path]) -> None:
    wanted = answer(CLIP(files[1]))

    def differentiable() -> np.ndarray:
        model = CLIP(files[1])
        features = model.encode_image(nn.Variable.from_numpy_array(images(model)))
        return np.zeros(features.shape)

    found = at_once([differentiable, lambda: answer(CLIP(files[1]))] * 4)
    for got in found[1::2]:
        np.testing.assert_array_equal(got, wanted)


def test_what_is_written_to_parameters_counts_from_the_next_refresh(files: list[Path]) -> None:
    model = CLIP(files[0], precision="fp32")
    model.parameters()
    before = answer(model)
    for name in ("token_embedding/W", "visual/proj"):
        model.parameters()[name].d[...] *= 2
    np.testing.assert_array_equal(answer(model), before)
    model.refresh()
    assert not np.allclose(answer(model), before)


@pytest.mark.parametrize("precision", available_precisions())
@pytest.mark.parametrize("streams", [None, 2])
@pytest.mark.parametrize("refreshed", [False, True])
def test_a_model_that_has_answered_answers_in_a_forked_child(
    files: list[Path], precision: str, streams: int | None, refreshed: bool
) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
        if refreshed:
            pytest.skip("int8 is calibrated in the parent only; see the next test")
    model = CLIP(files[0], precision=precision, streams=streams)
    wanted, many = answer(model), model.encode_image(images(model, 70))
    if refreshed:
        model.refresh()

    def ask() -> None:
        np.testing.assert_allclose(answer(model), wanted, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(model.encode_image(images(model, 70)), many, atol=1e-4)
        for found in at_once([lambda: answer(model)] * 3):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(answer(CLIP(files[0])), wanted, rtol=0.1, atol=1)
        assert in_child(lambda: np.testing.assert_allclose(answer(model), wanted, atol=1e-3)) == 0

    assert in_child(ask) == 0
    np.testing.assert_array_equal(answer(model), wanted)


def test_what_cannot_run_in_a_forked_child_says_so_at_once(
    files: list[Path], tmp_path: Path
) -> None:
    x, w = nn.Variable((2, 3)), nn.Variable((1, 3), need_grad=True)
    w.d = 1.0
    step = compile_step({"x": x}, {"loss": (x * w) ** 2}, {"w": w}, of=())
    step(x=np.ones((2, 3), np.float32))

    def try_it() -> None:
        with pytest.raises(ConfigError, match="forked"):
            step(x=np.ones((2, 3), np.float32))
        with pytest.raises(ConfigError, match=r"int8: found a process forked .* spawn"):
            model = CLIP(files[0], precision="int8", cache_dir=tmp_path)  # no scales lie there
            model.encode_image(np.zeros((1, 3, 16, 16), np.float32))

    pytest.importorskip("nncf")
    assert in_child(try_it) == 0


def test_a_fork_waits_for_other_threads(files: list[Path]) -> None:
    model = CLIP(files[0])
    wanted, done = answer(model), threading.Event()

    def keep_busy() -> None:
        while not done.is_set():
            answer(CLIP(files[1]))
            answer(model)

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            status = in_child(
                lambda: np.testing.assert_allclose(answer(model), wanted, rtol=1e-4, atol=1e-3)
            )
            assert status == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_forked_child_ends_as_others_do(files: list[Path]) -> None:
    script = (
        "import os, signal, sys; from nnclip.clip import CLIP; import numpy as np\n"
        "model = CLIP(sys.argv[1]); x = np.zeros((1, 3, 16, 16), 'f4'); model.encode_image(x)\n"
        "child = os.fork()\n"
        "if child: sys.exit(os.waitpid(child, 0)[1])\n"
        f"signal.alarm({DEADLINE}); model.encode_image(x)\n"  # and now to Python's own end
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", script, str(files[0])) == 0


@pytest.fixture
def own(files: list[Path], tmp_path: Path) -> Path:
    """A model file that a test may spoil."""
    return Path(shutil.copy(files[0], tmp_path / "model.h5"))


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_copy_answers_like_the_model(own: Path, copied: Callable, asked: bool) -> None:
    model = CLIP(own, precision="fp32", streams=2)
    if asked:
        model.parameters()
    again = copied(model)
    assert again is not model and again.precision == "fp32" and again.path == own.resolve()
    np.testing.assert_array_equal(answer(again), answer(model))


def test_a_spawned_process_takes_a_model(own: Path) -> None:
    model = CLIP(own, precision="fp32")
    with get_context("spawn").Pool(1) as pool:
        found = pool.apply(model.encode_image, (images(model),))
    np.testing.assert_allclose(found, model.encode_image(images(model)), atol=1e-5)


def test_changed_parameters_are_not_pickled(own: Path) -> None:
    model = CLIP(own)
    model.parameters()["visual/proj"].d = 3.0
    for refused in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(CheckpointError, match=r"model.h5: found parameters .* save it"):
            refused(model)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda own, other: own.unlink(), "model.h5: found no such file"),
        (lambda own, other: os.replace(shutil.copy(other, own.with_suffix(".new")), own), "other"),
    ],
    ids=["missing", "another"],
)
def test_a_file_that_changed_is_not_unpickled(
    own: Path, files: list[Path], spoil: Callable, message: str
) -> None:
    pickled = pickle.dumps(CLIP(own))
    spoil(own, files[1])
    with pytest.raises(CheckpointError, match=message):
        pickle.loads(pickled)


@pytest.mark.parametrize("state", ["loaded", "image answered", "text answered", "asked for"])
def test_a_file_cut_while_it_is_in_use_does_not_end_the_process(own: Path, state: str) -> None:
    wanted = answer(CLIP(own))

    def cut_and_ask() -> None:
        model = CLIP(own)
        if state == "image answered":
            model.encode_image(images(model))
        if state == "text answered":
            model.encode_text(model.tokenize(TEXTS))
        if state == "asked for":
            model.parameters()
        with own.open("r+b") as file:
            file.truncate(1000)
        if state == "asked for":
            np.testing.assert_array_equal(answer(model), wanted)
            return
        if state == "text answered":  # the table of tokens is read in every call
            model.encode_text(model.tokenize(["many other words in a longer text"] * 9))
        with pytest.raises(CheckpointError, match=r"model.h5: found it overwritten"):
            answer(model)
        with pytest.raises(CheckpointError, match=r"model.h5: found it overwritten"):
            model.parameters()

    assert in_child(cut_and_ask) == 0


def test_weights_are_held_in_memory_where_there_is_no_room_for_a_copy(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = answer(CLIP(own, precision="fp32"))
    monkeypatch.setattr("tempfile.tempdir", str(own.parent / "nowhere"))
    np.testing.assert_array_equal(answer(CLIP(own, precision="fp32")), wanted)


@pytest.mark.parametrize("precision", available_precisions())
def test_a_batch_of_none_has_features_of_none(files: list[Path], precision: str) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
    model = CLIP(files[0], precision=precision)
    ids = model.tokenize(TEXTS)
    assert model.encode_image(images(model, 0)).shape == (0, model.config.embed)
    assert model.encode_text(ids[:0]).shape == (0, model.config.embed)
    assert model.probabilities(images(model, 0), ids).shape == (0, 2)
    assert model.probabilities(images(model, 3), ids[:0]).shape == (3, 0)
