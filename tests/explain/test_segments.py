"""Regions: covering windows, the guided filter, connected components, the command."""

import json

import numpy as np
import pytest
from PIL import Image

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.drawing import compose
from nnclip.drawing.painting import paint, paint_masked
from nnclip.errors import ConfigError
from nnclip.explain import boxes
from nnclip.explain.guided import guided
from nnclip.explain.segments import windows
from nnclip.explain.subject import at

TEXTS = ["a dog", "grass", "sky"]


@pytest.fixture(scope="module")
def model(small_h5):
    return CLIP(small_h5, precision="fp32")


@pytest.fixture(scope="module")
def wide():
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 95, 3), np.uint8))


def test_every_pixel_of_the_image_has_one_text(model, wide):
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90), wide.convert("L")):
        labels = model.segment(image, TEXTS)
        assert labels.shape == image.size[::-1]
        assert set(np.unique(labels)) <= {0, 1, 2}


def test_a_square_is_cut_where_its_maps_say(model):
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (32, 32, 3), np.uint8))
    maps = model.explain(image, TEXTS, resolution=32)
    planes = [Image.fromarray(m.astype("f4")).resize((32, 32), 2) for m in maps]
    expected = np.argmax([np.asarray(plane) for plane in planes], axis=0)
    found = model.segment(image, TEXTS, resolution=32, refine=False)
    assert (found == expected).mean() > 0.99


@pytest.mark.parametrize("size", [(10, 10), (100, 30), (30, 100), (31, 30), (7, 200)])
def test_windows_are_squares_that_cover_the_image(size):
    seen = np.zeros(size[::-1], int)
    for left, top, right, bottom in windows(*size):
        assert right - left == bottom - top == min(size)
        seen[top:bottom, left:right] += 1
    assert seen.min() > 0


def test_refined_maps_follow_the_edges_of_colours():
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, 40:] = 255
    soft = np.broadcast_to(np.clip((np.arange(64) - 16) / 32, 0, 1), (1, 64, 64)).astype("f4")
    found = guided(soft, Image.fromarray(colours), 0.3, 1e-4)[0, 32]
    jump = np.diff(found)
    assert jump.argmax() in (38, 39, 40) and jump.max() > 5 * np.diff(soft[0, 32]).max()
    flat = guided(soft, Image.new("RGB", (64, 64)), 0.3, 1e-4)
    assert np.abs(np.diff(flat[0, 32])).max() < 0.06  # nothing to follow: only smoother


def test_boxes_surround_connected_regions():
    rows = ["00000000", "01100220", "01100020", "00001020", "00000022"]
    labels = np.array([[int(c) for c in row] for row in rows])
    found = {(b.text, b.left, b.top, b.right, b.bottom) for b in boxes(labels, 0)}
    assert found == {(0, 0, 0, 8, 5), (1, 1, 1, 3, 3), (1, 4, 3, 5, 4), (2, 5, 1, 8, 5)}
    assert sum(b.share for b in boxes(labels, 0)) == pytest.approx(1)
    assert [b.text for b in boxes(labels, 0.1)] == [0, 2, 1]


def test_regions_agree_with_a_flood_fill():
    labels = np.random.default_rng(5).integers(0, 3, (24, 31))
    left, areas = set(np.ndindex(*labels.shape)), []
    while left:
        stack, area = [left.pop()], 0
        label = labels[stack[0]]
        while stack:
            y, x = stack.pop()
            area += 1
            for place in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if place in left and labels[place] == label:
                    left.remove(place)
                    stack.append(place)
        areas.append(area)
    found = [round(box.share * labels.size) for box in boxes(labels, 0)]
    assert found == sorted(areas, reverse=True)


def test_what_pixels_show_is_where_objects_were_painted():
    scene = compose("heldout", 24, 3)
    picture, shown = paint_masked(scene, 96)
    assert picture.tobytes() == paint(scene, 96).tobytes()
    for number, item in enumerate(scene.items, 1):
        rows, columns = np.nonzero(shown == number)
        assert abs(columns.mean() / 96 - item.at[0]) < 0.08
        assert abs(rows.mean() / 96 - item.at[1]) < 0.08


def test_another_resolution_leaves_parameters_in_their_file(small_h5):
    model = CLIP(small_h5, precision="fp32")
    smaller = at(model._weights, 48)
    assert model._weights.waiting
    assert smaller.scope["visual"]["positional_embedding"].shape[0] == 37
    maps = model.explain(Image.new("RGB", (32, 32), "red"), TEXTS, resolution=48)
    assert model._weights.waiting and maps.shape == (3, 6, 6)
    model.parameters()
    again = CLIP(small_h5, precision="fp32")
    again.parameters()
    same = again.explain(Image.new("RGB", (32, 32), "red"), TEXTS, resolution=48)
    np.testing.assert_allclose(maps, same, atol=1e-6)


def test_the_command_writes_a_mask_and_boxes(small_h5, wide, tmp_path, capsys):
    photo, mask = tmp_path / "photo.png", tmp_path / "out" / "mask.png"
    wide.save(photo)
    flags = [word for text in TEXTS for word in ("-t", text)]
    command = ["segment", str(photo), *flags, "-o", str(mask), "--boxes", "-m", str(small_h5)]
    assert main([*command, "--draw", str(tmp_path / "drawn.svg"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with Image.open(mask) as written:
        assert written.mode == "P" and written.size == wide.size
        labels = np.asarray(written)
    shares = [float((labels == number).mean()) for number in range(3)]
    assert [it["share"] for it in told["texts"]] == pytest.approx(shares, abs=1e-6)
    for box in told["boxes"]:
        inside = labels[box["top"] : box["bottom"], box["left"] : box["right"]]
        assert (inside == TEXTS.index(box["text"])).any() and box["share"] >= 0.01
    assert (tmp_path / "drawn.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    "flags, said",
    [
        (["-t", "sky"], "found 1 text, expected 2 to 256"),
        (["-t", "sky", "-t", "sea", "-o", "mask.jpg"], "found .jpg, expected .png"),
        (["-t", "sky", "-t", "sea", "--draw", "mask"], "found no suffix, expected .png or .svg"),
    ],
)
def test_what_cannot_be_segmented_is_said_in_a_sentence(flags, said, tmp_path, capsys):
    assert main(["segment", str(tmp_path / "photo.png"), *flags]) == 2
    assert said in capsys.readouterr().err


def test_methods_whose_maps_cannot_be_compared_are_refused(model, wide):
    with pytest.raises(ConfigError, match="cannot be compared"):
        model.segment(wide, TEXTS, "relevance")
