"""SigLIP 2 NaFlex: images of every shape in one batch, beside transformers' processor and model."""

import json

import nnabla as nn
import numpy as np
import pytest
from PIL import Image

from nnclip.cli import main
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.engine import available_precisions
from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.naflex import weights
from nnclip.graph.towers import at_resolution
from nnclip.image import Preprocess
from nnclip.image.packing import grid_of, unpacked
from nnclip.model import CLIP
from tests.convert.transformers_samples import siglip_2_naflex
from tests.lazy import lazy

torch = lazy("torch")
transformers = lazy("transformers")

pytestmark = pytest.mark.torch
SHAPES = ((90, 140), (140, 90), (300, 120), (64, 64), (33, 800), (400, 100), (5, 5), (1, 400))
GRIDS = [[4, 5], [5, 4], [6, 3], [4, 4], [1, 20], [8, 2], [4, 4], [1, 20]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return siglip_2_naflex(tmp_path_factory.mktemp("naflex"))


@pytest.fixture(scope="module")
def mine(sample):
    convert_file(sample.path, sample.path / "model.h5")
    return CLIP(sample.path / "model.h5", precision="fp32")


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in SHAPES]


@pytest.fixture(scope="module")
def theirs(sample, drawn):
    """What the processor gives, and the features of the model."""
    processor = transformers.AutoImageProcessor.from_pretrained(sample.path, backend="pil")
    told = processor(drawn, return_tensors="pt")
    with torch.inference_mode():
        return told, sample.model.get_image_features(**told).pooler_output.numpy()


def apart(found, wanted):
    return (np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max()


def test_a_batch_of_every_shape_is_what_transformers_makes_of_it(mine, drawn, theirs):
    told, wanted = theirs
    images = np.stack([mine.preprocess(image) for image in drawn])
    patches, there, grids = unpacked(images, 8, 20)
    assert np.array_equal(patches, told["pixel_values"].numpy())
    assert np.array_equal(there, told["pixel_attention_mask"].numpy())
    assert grids.tolist() == told["spatial_shapes"].tolist() == GRIDS
    found = mine.encode_image(images)
    assert apart(found, wanted) < 2e-5
    one_by_one = np.concatenate([mine.encode_image(image[None]) for image in images])
    assert apart(one_by_one, wanted) < 2e-5
    interpreted = mine.encode_image(nn.Variable.from_numpy_array(images))
    interpreted.forward()
    assert apart(interpreted.d, wanted) < 2e-5


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_read_the_same_grids(mine, sample, drawn, theirs, precision):
    if precision not in available_precisions():
        pytest.skip(f"no native {precision} here")
    calibration = drawn if precision == "int8" else None
    model = CLIP(sample.path / "model.h5", precision=precision, calibration=calibration)
    found = model.encode_image(np.stack([model.preprocess(image) for image in drawn]))
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(theirs[1], axis=1)
    assert ((found * theirs[1]).sum(axis=1) / norms).min() > {"bf16": 0.999, "int8": 0.98}[
        precision
    ]


@pytest.mark.parametrize("most", [1, 15, 16, 255, 256, 1000])
def test_the_grid_is_found_for_every_number_of_patches(most):
    """Also where few cells of the square are empty."""
    how = Preprocess.of_patches(4, most)
    sizes = [(9, 9), (640, 480), (480, 640), (4000, 3), (3, 4000)]
    images = np.stack([how(Image.new("RGB", size, "white")) for size in sizes])
    grids = [list(reversed(grid_of(size, 4, most))) for size in sizes]
    assert unpacked(images, 4, most)[2].tolist() == grids
    assert all(rows * columns <= most for rows, columns in grids)
    bytes_ = np.stack([np.asarray(how.square(Image.new("RGB", s, "white"))) for s in sizes])
    assert np.array_equal(how.normalise(bytes_.transpose(0, 3, 1, 2)), images)


@pytest.mark.parametrize("grid", [(1, 1), (1, 20), (3, 6), (6, 3), (4, 4), (5, 2), (20, 1)])
def test_positions_are_interpolated_as_torch_does(grid):
    """Grids of one column are compared transposed: torch 2.14 is wrong there (docs/models.md)."""
    table = np.random.default_rng(1).standard_normal((16, 8)).astype("f4")
    square = torch.from_numpy(table).reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    narrow = grid[1] == 1
    wanted = torch.nn.functional.interpolate(
        square.mT if narrow else square,
        size=grid[::-1] if narrow else grid,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    wanted = wanted.reshape(8, -1).T.numpy()
    shares = []
    for side in grid:
        places = nn.Variable.from_numpy_array(np.arange(side, dtype="f4")[None, :, None])
        shares.append(weights(places, nn.Variable.from_numpy_array(np.full((1, 1, 1), side)), 4))
    nn.forward_all(shares)
    found = np.einsum("ra,cb,abd->rcd", *(s.d[0] for s in shares), table.reshape(4, 4, 8))
    found = found.reshape(-1, 8)
    assert np.abs(found - wanted).max() < 1e-6


def test_embed_takes_a_folder_of_every_shape(mine, sample, drawn, theirs, tmp_path):
    for number, image in enumerate(drawn):
        (tmp_path / "images").mkdir(exist_ok=True)
        image.save(tmp_path / "images" / f"{number}.png")
    out = tmp_path / "embeddings"
    words = ["embed", str(tmp_path / "images"), "-o", str(out), "--precision", "fp32"]
    assert main([*words, "--model", str(sample.path / "model.h5")]) == 0
    found = np.load(out / "shards" / "00000.npy")
    wanted = theirs[1] / np.linalg.norm(theirs[1], axis=1, keepdims=True)
    assert np.abs(found.astype("f4") - wanted).max() < 2e-3


def test_a_random_crop_keeps_its_shape_too(mine):
    how, image = mine.config.image.preprocess, Image.new("RGB", (400, 90), "red")
    crop = how.random_crop(image, np.random.default_rng(2), scale=(0.2, 0.3), ratio=(2.0, 2.0))
    (grid,) = unpacked(how.normalise_image(crop)[None], 8, 20)[2].tolist()
    assert grid == [3, 6]


@pytest.mark.parametrize("ask", ["explain", "segment"])
def test_maps_are_refused_by_the_kind_of_tower(mine, ask):
    with pytest.raises(ConfigError, match="found a vision transformer for images of any shape"):
        getattr(mine, ask)(Image.new("RGB", (60, 40)), ["a photo", "a cat"])


def test_another_resolution_is_refused(mine):
    with pytest.raises(ConfigError, match=r"--image-size: found 80, expected none.*keep their"):
        at_resolution(mine.config.image, 80)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("preprocessor_config.json", {"patch_size": 16}, "found patches of 16 pixels, expected 8"),
        ("preprocessor_config.json", {"max_num_patches": 0}, "patches: found 0, expected"),
        ("preprocessor_config.json", {"do_resize": False}, "do_resize: found False, expected True"),
        (
            "preprocessor_config.json",
            {"image_processor_type": "SiglipImageProcessor"},
            "found the key '(patch_size|max_num_patches)'",
        ),
    ],
)
def test_a_processor_that_is_not_computed_is_refused(tmp_path, file, change, expected):
    siglip_2_naflex(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=expected):
        convert_file(tmp_path, tmp_path / "out.h5")
