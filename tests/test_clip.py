"""The face: arrays and Variables, several models, bad input."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import nnabla.solvers as S
import numpy as np
import pytest
from PIL import Image

from nnclip import clip
from nnclip.engine import agreement, available_precisions
from nnclip.errors import CheckpointError, ConfigError, DataError, NnclipError

TEXTS = ["a diagram", "a dog", "a cat that sleeps"]


@pytest.fixture(autouse=True)
def _no_current_model() -> Iterator[None]:
    before = clip._current
    clip._current = None
    yield
    clip._current = before


@pytest.fixture(scope="module")
def model(small_h5: Path) -> clip.CLIP:
    return clip.CLIP(small_h5, precision="fp32")


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, 3, 32, 32), dtype=np.float32)


def picture(size: tuple[int, int] = (60, 45)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(values)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= 2e-6 * np.linalg.norm(expected)


def test_arrays_and_variables_agree(model: clip.CLIP, images: np.ndarray) -> None:
    ids = model.tokenize(TEXTS)
    x, t = nn.Variable.from_numpy_array(images), nn.Variable.from_numpy_array(ids)
    nodes = [model.encode_image(x), model.encode_text(t), *model.logits(x, t)]
    nn.forward_all(nodes)
    arrays = [model.encode_image(images), model.encode_text(ids), *model.logits(images, ids)]
    assert [a.shape for a in arrays] == [(2, 32), (3, 32), (2, 3), (3, 2)]
    for node, array in zip(nodes, arrays, strict=True):
        assert isinstance(array, np.ndarray)
        close(array, node.d)


def test_auto_forward_gives_values_at_once(small_h5: Path) -> None:
    """The published example: load and all calls inside nn.auto_forward()."""
    with nn.auto_forward():
        clip.load(small_h5, precision="fp32")
        image = nn.Variable.from_numpy_array(clip.preprocess(picture()))
        image = F.reshape(image, (1, *image.shape))
        text = nn.Variable.from_numpy_array(clip.tokenize(TEXTS))
        per_image, _ = clip.logits(image, text)
        probabilities = F.softmax(per_image, axis=-1).d.copy()
        arrays = clip.current().probabilities(image.d, text.d)
    close(probabilities, arrays)


def test_a_graph_built_before_its_values_are_known(model: clip.CLIP, images: np.ndarray) -> None:
    x, t = nn.Variable((2, 3, 32, 32)), nn.Variable((3, 16))
    per_image, _ = model.logits(x, t)
    x.d, t.d = images, model.tokenize(TEXTS)
    per_image.forward()
    close(per_image.d, model.logits(images, model.tokenize(TEXTS))[0])


def test_half_precision_finds_the_end_of_the_text(model: clip.CLIP) -> None:
    """In float16 the ids of start and end round to the same number."""
    ids = model.tokenize(TEXTS)
    half = nn.Context(["cpu:half", "cpu:float"], "CpuCachedArray", "0")
    with nn.context_scope(half), nn.auto_forward():
        features = model.encode_text(nn.Variable.from_numpy_array(ids)).d.astype(np.float32)
    expected = model.encode_text(ids)
    assert np.abs(features - expected).max() < 0.01 * np.abs(expected).max()


def test_every_shorter_length_gives_the_same_features(model: clip.CLIP) -> None:
    for count in range(15):
        ids = model.tokenize(" ".join(["dog"] * count))
        whole = model.encode_text(nn.Variable.from_numpy_array(ids))
        whole.forward()
        close(model.encode_text(ids), whole.d)
        close(model.encode_text(ids[:, : count + 2]), whole.d)
    assert sum(key != "image" for key in model._towers._runners) == 1, "weights lie there twice"


def test_gradients_reach_every_parameter(small_h5: Path, images: np.ndarray) -> None:
    model = clip.CLIP(small_h5)
    ids = model.tokenize(TEXTS[:2])
    per_image, _ = model.logits(
        nn.Variable.from_numpy_array(images), nn.Variable.from_numpy_array(ids)
    )
    loss = F.sum(per_image**2)
    solver = S.Sgd(lr=1e-3)
    solver.set_parameters(model.parameters())
    solver.zero_grad()
    loss.forward()
    loss.backward()
    assert all(np.abs(v.g).max() > 0 for v in model.parameters().values())
    before = model.encode_image(images)
    solver.update()
    model.refresh()
    assert np.abs(model.encode_image(images) - before).max() > 1e-4


def test_models_do_not_share_parameters(small_h5: Path, other_h5: Path) -> None:
    nn.clear_parameters()
    one, other = clip.CLIP(small_h5), clip.CLIP(other_h5)
    assert nn.get_parameters(grad_only=False) == {}
    assert (one.config.image.resolution, other.config.image.resolution) == (32, 48)
    assert one.preprocess(picture()).shape == (3, 32, 32)
    assert other.preprocess(picture()).shape == (3, 48, 48)
    assert one.encode_text(one.tokenize(TEXTS)).shape == (3, 32)
    assert other.encode_text(other.tokenize(TEXTS)).shape == (3, 48)


def test_building_again_keeps_frozen_parameters_frozen(small_h5: Path) -> None:
    model = clip.CLIP(small_h5)
    model.parameters()["visual/proj"].need_grad = False
    model.encode_image(nn.Variable((1, 3, 32, 32)))
    assert not model.parameters()["visual/proj"].need_grad


def test_clip_runs_a_picture_file(model: clip.CLIP, tmp_path: Path) -> None:
    picture().save(tmp_path / "picture.png")
    from_path = model.run(tmp_path / "picture.png", TEXTS)
    from_bytes = model.run(BytesIO((tmp_path / "picture.png").read_bytes()), TEXTS)
    assert from_path.shape == (3,) and abs(from_path.sum() - 1) < 1e-6
    np.testing.assert_array_equal(from_path, from_bytes)


def test_a_saved_model_is_the_same_model(model: clip.CLIP, tmp_path: Path, images) -> None:
    model.save(tmp_path / "again.h5")
    model.save(tmp_path / "half.h5", half=True)
    again = clip.CLIP(tmp_path / "again.h5", precision="fp32")
    half = clip.CLIP(tmp_path / "half.h5", precision="fp32")
    np.testing.assert_array_equal(again.encode_image(images), model.encode_image(images))
    assert np.abs(half.encode_image(images) - model.encode_image(images)).max() < 2e-2
    assert (tmp_path / "half.h5").stat().st_size < 0.6 * (tmp_path / "again.h5").stat().st_size


def test_threads_get_the_answers_of_one(model: clip.CLIP, rng: np.random.Generator) -> None:
    batches = [rng.standard_normal((n, 3, 32, 32), dtype=np.float32) for n in (1, 5, 40, 3, 70, 2)]
    texts = [model.tokenize([f"number {n}"] * n) for n in (2, 1, 33, 4, 7, 3)]
    expected = [model.logits(b, t)[0] for b, t in zip(batches, texts, strict=True)]
    found: dict[int, np.ndarray] = {}
    fresh = clip.CLIP(model.path, precision="fp32")  # compiles while the others already ask

    def ask(i: int) -> None:
        found[i] = fresh.logits(batches[i % 6], texts[i % 6])[0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(24):
        np.testing.assert_allclose(found[i], expected[i % 6], rtol=1e-5, atol=1e-5)


def test_a_cache_of_compiled_towers_changes_nothing(
    small_h5: Path, other_h5: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Neither other weights nor another precision are taken for those that were kept."""
    for path, precision in itertools.product((small_h5, other_h5), available_precisions()[:-1]):
        plain = clip.CLIP(path, precision=precision)
        size, ids = plain.config.image.resolution, plain.tokenize(["a dog", "two cats"])
        images = rng.standard_normal((3, 3, size, size), dtype=np.float32)
        for _ in range(2):
            kept = clip.CLIP(path, precision=precision, cache_dir=tmp_path)
            np.testing.assert_array_equal(kept.encode_image(images), plain.encode_image(images))
            np.testing.assert_array_equal(kept.encode_text(ids), plain.encode_text(ids))
        runners = kept._towers._runners.values()
        assert all(runner._model.get_property("LOADED_FROM_CACHE") for runner in runners)


WITHOUT_OPENVINO = """
import sys
sys.modules["openvino"] = None
import numpy as np
from nnclip import clip
model = clip.load(sys.argv[1])
images, ids = np.load(sys.argv[2]), model.tokenize(["a dog", "two cats"])
for _ in range(2):
    per_image = model.logits(images, ids)[0]
assert model.precision == "fp32"
np.save(sys.argv[2], per_image)
"""


def test_without_openvino_nnabla_answers_with_one_warning(
    small_h5: Path, model: clip.CLIP, images: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "images.npy"
    np.save(file, images)
    command = [sys.executable, "-c", WITHOUT_OPENVINO, str(small_h5), str(file)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("some 20 to 50 times slower") == 1
    close(np.load(file), model.logits(images, model.tokenize(["a dog", "two cats"]))[0])


@pytest.mark.parametrize(
    "source", ["no-such-file.h5", "ViT-X/99", "text.h5"], ids=["missing", "unknown", "foreign"]
)
def test_a_failed_load_leaves_the_current_model(
    small_h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.h5").write_text("not an HDF5 file")
    loaded = clip.load(small_h5)
    with pytest.raises(CheckpointError, match=source):
        clip.load(source)
    assert clip.current() is loaded
    assert clip.encode_text(clip.tokenize("still here")).shape == (1, 32)


BAD: dict[str, tuple[Callable[[clip.CLIP], object], type[NnclipError], str]] = {
    "wrong shape": (lambda m: m.encode_image(np.zeros((1, 3, 9, 32), "f")), DataError, r"9, 32"),
    "no batch": (lambda m: m.encode_image(np.zeros((3, 32, 32), "f")), DataError, r"3, 32, 32"),
    "integers": (lambda m: m.encode_image(np.zeros((1, 3, 32, 32), "i4")), DataError, "int32"),
    "NaN": (lambda m: m.encode_image(np.full((1, 3, 32, 32), np.nan, "f")), DataError, "NaN"),
    "float ids": (lambda m: m.encode_text(np.ones((1, 16), "f")), DataError, "float32"),
    "id too high": (lambda m: m.encode_text(np.full((1, 16), 49408)), DataError, "49408"),
    "negative id": (lambda m: m.encode_text(np.full((1, 16), -1)), DataError, "-1"),
    "too many tokens": (lambda m: m.encode_text(np.ones((1, 17), "i4")), DataError, "16"),
    "a list": (lambda m: m.encode_image([1, 2]), DataError, "list"),  # type: ignore[type-var]
    "a wrong Variable": (lambda m: m.encode_image(nn.Variable((2, 3))), DataError, r"\(2, 3\)"),
    "long text Variable": (lambda m: m.encode_text(nn.Variable((1, 17))), DataError, "16"),
    "a mixture": (
        lambda m: m.logits(nn.Variable((1, 3, 32, 32)), np.ones((1, 16), "i4")),  # type: ignore[misc]
        DataError,
        "same kind",
    ),
    "a long text": (lambda m: m.tokenize("word " * 20), DataError, "word word"),
    "no text": (lambda m: m.tokenize([]), DataError, "empty"),
    "no image": (lambda m: m.preprocess_image(BytesIO(b"GIF89a")), DataError, "no known format"),
    "precision": (lambda m: clip.CLIP(m.path, precision="fp8"), ConfigError, "fp8"),
    "no streams": (lambda m: clip.CLIP(m.path, streams=0), ConfigError, "streams is 0"),
    "a file as the cache": (
        lambda m: clip.CLIP(m.path, cache_dir=m.path).encode_text(np.ones((1, 4), "i4")),
        ConfigError,
        "cache_dir is .*small.h5",
    ),
    "context": (lambda m: clip.CLIP(m.path, context="abacus"), ConfigError, "abacus"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(model: clip.CLIP, case: str) -> None:
    call, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        call(model)


def test_ids_outside_the_vocabulary_stop_a_graph(model: clip.CLIP) -> None:
    ids = nn.Variable.from_numpy_array(np.full((1, 16), 49408))
    with pytest.raises(SystemError) as caught:  # NNabla wraps what a PythonFunction raises
        model.encode_text(ids).forward()
    assert isinstance(caught.value.__cause__, DataError)


def test_before_any_model_is_loaded() -> None:
    assert clip.tokenize("a dog").shape == (1, 77)
    assert clip.preprocess(picture()).shape == (3, 224, 224)
    with pytest.raises(ConfigError, match="load"):
        clip.encode_text(clip.tokenize("a dog"))


def test_parameters_stay_in_the_file_until_they_are_asked_for(
    small_h5: Path, images: np.ndarray
) -> None:
    fresh = clip.CLIP(small_h5, precision="fp32")
    answered = fresh.logits(images, fresh.tokenize(TEXTS))[0]
    assert fresh._weights.waiting, "answering has read the parameters"
    fresh.parameters()["visual/proj"].d *= 2
    assert not fresh._weights.waiting
    np.testing.assert_array_equal(fresh.logits(images, fresh.tokenize(TEXTS))[0], answered)
    before = fresh.encode_image(images)
    fresh.refresh()
    close(fresh.encode_image(images), 2 * before)


def test_a_file_overwritten_in_use_is_an_error(small_h5: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(small_h5.read_bytes())
    model = clip.CLIP(path)
    path.write_bytes(small_h5.read_bytes())
    with pytest.raises(CheckpointError, match="load it again"):
        model.encode_text(model.tokenize(TEXTS))


def test_int8_tells_what_it_costs(
    small_h5: Path, images: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [picture((40 + n, 40)) for n in range(6)]
    int8 = clip.load(small_h5, precision="int8", calibration=pictures)
    assert int8.precision == "int8" and int8.drift is None
    with caplog.at_level("INFO"):
        features = int8.encode_image(np.stack([int8.preprocess(p) for p in pictures]))
    exact = clip.CLIP(small_h5, precision="fp32")
    wanted = exact.encode_image(np.stack([exact.preprocess(p) for p in pictures]))
    cosine = (features * wanted).sum(1) / np.linalg.norm(features, axis=1)
    cosine /= np.linalg.norm(wanted, axis=1)
    assert int8.drift is not None and 0.98 < int8.drift.least_cosine < 1
    assert int8.drift.least_cosine == pytest.approx(cosine.min(), abs=1e-5)
    assert int8.drift.mean_cosine == pytest.approx(cosine.mean(), abs=1e-5)
    assert f"{int8.drift.least_cosine:.4f}" in caplog.text
    assert list(int8.drifts) == ["image"]
    ids = exact.tokenize(TEXTS)
    found = agreement(int8.encode_text(ids), exact.encode_text(ids))
    assert 0.98 < found.least_cosine < 1
    assert int8.drifts["image"] == int8.drift
    assert 0.98 < int8.drifts["text"].least_cosine < 1


def test_int8_calibrates_on_arrays_or_on_the_bundled_pictures(
    small_h5: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNCLIP_PRECISION", "int8")
    monkeypatch.setattr("nnclip.calibration.BUNDLED_IMAGES", 4)
    for calibration in (images, None):
        int8 = clip.CLIP(small_h5, calibration=calibration)
        assert int8.encode_image(images).shape == (2, 32)
        assert int8.drift is not None


def test_int8_calibrates_on_texts_that_are_given(small_h5: Path) -> None:
    int8 = clip.CLIP(small_h5, precision="int8", calibration_texts=TEXTS)
    ids = int8.tokenize(TEXTS)
    found = agreement(int8.encode_text(ids), clip.CLIP(small_h5, precision="fp32").encode_text(ids))
    assert int8.drifts["text"].least_cosine == pytest.approx(found.least_cosine, abs=1e-6)
    with pytest.raises(DataError, match="calibration_texts: found no text"):
        clip.CLIP(small_h5, precision="int8", calibration_texts=[]).encode_text(ids)
    with pytest.raises(ConfigError, match="calibration_texts: found it with precision fp32"):
        clip.CLIP(small_h5, precision="fp32", calibration_texts=TEXTS)


@pytest.mark.parametrize(
    "precision, calibration, kind, words",
    [
        ("fp32", [picture()], ConfigError, "fp32"),
        ("int8", [], DataError, "no image"),
        ("int8", [np.zeros((3, 9, 9), "f")], DataError, r"\(3, 9, 9\)"),
    ],
)
def test_unfit_calibration_is_refused(
    small_h5: Path, images: np.ndarray, precision: str, calibration, kind, words: str
) -> None:
    with pytest.raises(kind, match=words):
        clip.CLIP(small_h5, precision=precision, calibration=calibration).encode_image(images)
