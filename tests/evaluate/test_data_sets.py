import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.captioned import read_captioned
from nnclip.evaluate.labelled import read_labelled
from nnclip.sources.readers import open_stored


def png(path, colour=(1, 2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), colour).save(path)
    return path


def test_an_image_folder(tmp_path):
    for name in ("tree_frog/1.png", "tree_frog/deep/2.JPG", "dog/3.png"):
        png(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    data = read_labelled(tmp_path)
    assert data.classes == ("dog", "tree frog") and data.labels.tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"3 class names for .* which has 2"):
        read_labelled(tmp_path, ["a", "b", "c"])


def test_a_table_with_names_or_numbers(tmp_path):
    png(tmp_path / "1.png")
    table = tmp_path / "t.csv"
    table.write_text("filepath,kind\n1.png,cat\n1.png,ant\n")
    data = read_labelled(table, label_key="kind")
    assert data.classes == ("ant", "cat") and data.labels.tolist() == [1, 0]
    assert data.sources[0] == tmp_path / "1.png"
    table.write_text("filepath\tlabel\n1.png\t1\n1.png\t0\n")
    assert read_labelled(table, ["cat", "ant"]).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,label\n", "no column filepath; it has path, label"),
        ("filepath,label\n", "a header and no rows"),
        ("filepath,label\na.png,bird\n", "labels that are no class: bird"),
        ("filepath,label\na.png,7\n", "label 7, but there are 2 class names"),
        ("filepath,label\na.png\n", "row 2 lacks a value"),
        ("", "it has none"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, content, says):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        read_labelled(tmp_path / "t.csv", ["cat", "dog"])


def test_classes_of_one_name_are_named_and_kept(tmp_path, caplog):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        png(tmp_path / folder / "1.png")
    data = read_labelled(tmp_path, ["missile", "crane", "missile"])
    assert data.classes == ("missile", "crane", "missile")
    assert "classes of one name" in caplog.text and caplog.text.count("missile") == 1
    assert "crane" not in caplog.text
    table = tmp_path / "pictures.csv"
    table.write_text("filepath,label\na/1.png,missile\nb/1.png,crane\n")
    named = read_labelled(table, ["missile", "crane", "missile"])
    assert named.labels.tolist() == [0, 1]  # answers of equal score are the first's, too


def test_nothing_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_labelled(tmp_path / "none")
    with pytest.raises(DataError, match="no folders in it"):
        read_labelled(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in its 1 folders"):
        read_labelled(tmp_path)
    with pytest.raises(ConfigError, match="'val'"):
        read_labelled(tmp_path, split="val")


PLANES = np.arange(6 * 3072, dtype=np.uint32).reshape(6, 3072).astype(np.uint8)
NAMES = ["air_plane", "bird", "cat"]


def check(data, name, labels, planes=PLANES):
    assert data.classes == ("air plane", "bird", "cat") and data.name == name
    assert data.labels.tolist() == labels and len(data.sources) == len(labels)
    first = np.asarray(open_stored(data.sources[0]))
    assert first.shape == (32, 32, 3)
    assert (first[:, :, 1].ravel() == planes[0, 1024:2048]).all()  # green is the second plane


def test_cifar10_binary(tmp_path):
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    labels = np.array([0, 2, 1, 0, 0, 2], np.uint8)
    (tmp_path / "test_batch.bin").write_bytes(np.c_[labels, PLANES].tobytes())
    for i in range(1, 6):
        (tmp_path / f"data_batch_{i}.bin").write_bytes(np.c_[labels[:2], PLANES[:2]].tobytes())
    check(read_labelled(tmp_path), "cifar3", labels.tolist())
    check(read_labelled(tmp_path, split="train"), "cifar3", [0, 2] * 5)
    (tmp_path / "test_batch.bin").write_bytes(b"cut short")
    with pytest.raises(DataError, match="9 bytes, expected a multiple of 3073"):
        read_labelled(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(np.c_[labels + 7, PLANES].tobytes())
    with pytest.raises(DataError, match="label 9, but there are 3 class names"):
        read_labelled(tmp_path)


def test_cifar100_binary_takes_the_fine_label(tmp_path):
    (tmp_path / "fine_label_names.txt").write_text("\n".join(NAMES))
    coarse, fine = np.full(6, 9, np.uint8), np.array([0, 1, 2, 2, 1, 0], np.uint8)
    (tmp_path / "test.bin").write_bytes(np.c_[coarse, fine, PLANES].tobytes())
    check(read_labelled(tmp_path), "cifar3", fine.tolist())
    with pytest.raises(DataError, match=r"train\.bin"):
        read_labelled(tmp_path, split="train")


def pickled(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_cifar_python_versions(tmp_path):
    ten, hundred = tmp_path / "10", tmp_path / "100"
    ten.mkdir()
    hundred.mkdir()
    names = [name.encode() for name in NAMES]
    pickled(ten / "batches.meta", {b"label_names": names})
    pickled(ten / "test_batch", {b"data": PLANES, b"labels": [0, 2, 1, 0, 0, 2]})
    check(read_labelled(ten), "cifar3", [0, 2, 1, 0, 0, 2])
    pickled(hundred / "meta", {"fine_label_names": NAMES})
    pickled(hundred / "test", {"data": PLANES, "fine_labels": [1] * 6, "coarse_labels": [0] * 6})
    check(read_labelled(hundred), "cifar3", [1] * 6)
    pickled(hundred / "test", {"data": PLANES[:, :100], "fine_labels": [1] * 6})
    with pytest.raises(DataError, match=r"expected uint8 \(N, 3072\)"):
        read_labelled(hundred)
    pickled(hundred / "test", {"data": PLANES})
    with pytest.raises(DataError, match="no arrays `data` and `fine_labels`"):
        read_labelled(hundred)
    (hundred / "test").write_bytes(b"\x80\x04nothing")
    with pytest.raises(DataError, match="not one of CIFAR's files"):
        read_labelled(hundred)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_executed(tmp_path):
    pickled(tmp_path / "batches.meta", {b"label_names": [b"a"]})
    pickled(tmp_path / "test_batch", Hostile(tmp_path / "executed"))
    with pytest.raises(DataError, match=r"mkdir, which no CIFAR file needs"):
        read_labelled(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_coco(tmp_path):
    png(tmp_path / "a.png")
    png(tmp_path / "b.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "annotations": [
            {"image_id": 8, "caption": "B one "},
            {"image_id": 7, "caption": "A"},
            {"image_id": 8, "caption": "B two"},
        ],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    data = read_captioned(path)
    assert [p.name for p in data.paths] == ["b.png", "a.png"]
    assert data.texts == ("B one", "A", "B two") and data.image_of_text.tolist() == [0, 1, 0]


def test_karpathy_split(tmp_path):
    images = [
        {"split": "test", "filename": "a.png", "sentences": [{"raw": "A"}, {"raw": "A too"}]},
        {"split": "train", "filename": "b.png", "sentences": [{"raw": "B"}]},
    ]
    path = tmp_path / "flickr.json"
    path.write_text(json.dumps({"images": images}))
    pictures = tmp_path / "pictures"
    png(pictures / "a.png")
    data = read_captioned(path, pictures)
    assert data.texts == ("A", "A too") and data.paths == (pictures / "a.png",)
    with pytest.raises(DataError, match=r"no image of split 'val'; there are: test, train"):
        read_captioned(path, pictures, split="val")


def test_missing_pictures_are_counted_and_named_or_refused(tmp_path, caplog):
    png(tmp_path / "a.png")
    path = tmp_path / "pairs.csv"
    path.write_text('filepath\ttitle\na.png\ta "quoted\ngone.png\tgone\ngone.png\ttoo\n')
    data = read_captioned(path)
    assert data.texts == ('a "quoted',) and [p.name for p in data.missing] == ["gone.png"]
    assert "1 of 2 images are missing" in caplog.text and "gone.png" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="none of its 2 images is there"):
        read_captioned(path)


def test_an_unknown_language_is_named_with_those_there_are(tmp_path):
    png(tmp_path / "a.png")
    path = tmp_path / "pairs.csv"
    path.write_text("filepath,title,language\na.png,one,en\na.png,eins,de\n")
    data = read_captioned(path)
    assert data.only("de").texts == ("eins",)
    with pytest.raises(DataError, match="'xx'; there are: de, en"):
        data.only("xx")
    with pytest.raises(DataError, match="no caption is left"):
        data.without([0])


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [{}]}', '{"annotations": [{}]}'])
def test_json_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"cannot be read as JSON|neither COCO's captions"):
        read_captioned(tmp_path / "x.json")


def test_annotations_of_a_picture_that_is_not_listed_are_named(tmp_path):
    listed = [{"id": 1, "file_name": "1.png"}]
    notes = [{"image_id": 1, "caption": "a"}, {"image_id": 7, "caption": "b"}]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": listed, "annotations": notes}))
    with pytest.raises(DataError, match=r"image_id 7: found a caption of an image that is not in"):
        read_captioned(path, None, "test", "title")
