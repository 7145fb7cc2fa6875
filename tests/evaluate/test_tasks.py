import logging

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate import tasks
from nnclip.evaluate.captioned import read_captioned
from nnclip.evaluate.classifier import class_embeddings
from nnclip.evaluate.embedding import checked, embed_sentences, embed_sources
from nnclip.evaluate.labelled import read_labelled
from nnclip.evaluate.linear_probe import Examples, linear_probe
from nnclip.evaluate.tasks import Subject
from nnclip.evaluate.typographic import write_word, wrong_classes

PLAIN = ["a photo of a {} thing."]


def test_zero_shot_of_colours_is_perfect(subject, colour_folder):
    answers, record, _ = tasks.zero_shot(subject, read_labelled(colour_folder), PLAIN)
    assert record["metrics"]["acc1"] == record["metrics"]["mean_per_class_recall"] == 1.0
    assert 0 < record["metrics"]["expected_calibration_error"] < 0.5
    assert "acc5" not in record["metrics"]  # there are four classes
    six = list(record)[:6]
    assert six == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert record["task"] == "zeroshot_classification" and record["images"] == 16
    assert answers.classes == ("blue", "green", "red", "yellow")


def test_wrongly_named_classes_are_wrong_answers(subject, colour_folder):
    data = read_labelled(colour_folder, ["green", "blue", "red", "yellow"])
    _, record, _ = tasks.zero_shot(subject, data, PLAIN)
    assert record["metrics"]["acc1"] == 0.5
    rows = {row["class"]: row for row in record["per_class"]}
    assert rows["green"]["recall"] == 0.0 and rows["green"]["mistaken_for"] == "blue"
    assert rows["red"]["recall"] == 1.0 and rows["red"]["mistaken_for"] is None


def test_an_unreadable_picture_is_named_counted_and_left_out(subject, colour_folder, caplog):
    (colour_folder / "red" / "2.png").write_bytes(b"no image")
    _, record, _ = tasks.zero_shot(subject, read_labelled(colour_folder), PLAIN)
    assert record["images"] == 15 and record["metrics"]["acc1"] == 1.0
    assert [entry["image"].endswith("red/2.png") for entry in record["skipped"]] == [True]
    assert "skipped 1 of 16 images" in caplog.text and "red/2.png" in caplog.text


def test_a_class_without_pictures_counts_in_no_mean(subject, colour_folder, caplog):
    (colour_folder / "white").mkdir()
    with caplog.at_level(logging.WARNING):
        _, record, _ = tasks.zero_shot(subject, read_labelled(colour_folder), PLAIN)
    assert record["empty_classes"] == ["white"] and "white" in caplog.text
    assert record["metrics"]["mean_per_class_recall"] == 1.0
    assert record["per_class"][3] == {
        "class": "white", "images": 0, "recall": None, "precision": None, "mistaken_for": None,
    }  # fmt: skip


def test_no_readable_picture_at_all_is_an_error(subject, tmp_path):
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of 1 images can be read"):
        tasks.zero_shot(subject, read_labelled(tmp_path), PLAIN)


def test_linear_probe_learns_what_the_names_do_not_say(subject, colour_folder):
    names = ["une", "deux", "trois", "quatre"]
    data = read_labelled(colour_folder, names)
    answers, record, _ = tasks.probe(subject, data, data, 100.0)
    assert record["task"] == "linear_probe" and record["metrics"]["acc1"] == 1.0
    assert record["strength"] == 100.0 and answers.classes == tuple(names)


def test_linear_probe_tries_strengths_and_never_answers_a_class_it_has_not_seen(rng):
    labels = np.repeat([0, 2], 40)
    rows = rng.normal(size=(80, 6)).astype(np.float32) + 2 * labels[:, None]
    train = Examples(rows, labels)
    answers, strength = linear_probe(train, train, ("a", "b", "c"))
    assert strength in (0.01, 0.1, 1.0, 10.0, 100.0)
    assert set(answers.predicted) == {0, 2} and answers.metrics()["acc1"] > 0.9


@pytest.mark.torch
def test_linear_probe_equals_scikit_learn(rng):
    from sklearn.linear_model import LogisticRegression

    labels = rng.integers(0, 3, 120)
    rows = (rng.normal(size=(120, 5)) + labels[:, None]).astype(np.float32)
    answers, _ = linear_probe(Examples(rows, labels), Examples(rows, labels), tuple("abc"), 0.5)
    theirs = LogisticRegression(C=0.5, max_iter=1000).fit(rows, labels)
    np.testing.assert_allclose(answers.probabilities, theirs.predict_proba(rows), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "strength", "error", "says"),
    [
        ([0, 0], None, DataError, "show 1 class"),
        ([0, 1], 0.0, ConfigError, "strength is 0"),
        ([0, 1], -1.0, ConfigError, "strength is -1"),
    ],
)
def test_a_probe_that_cannot_be_fitted_is_refused(labels, strength, error, says):
    examples = Examples(np.eye(2, dtype=np.float32), np.array(labels))
    with pytest.raises(error, match=says):
        linear_probe(examples, examples, ("a", "b"), strength)


def test_a_probe_needs_the_same_classes(subject, colour_folder, tmp_path):
    (tmp_path / "other" / "red").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "other" / "red" / "1.png")
    with pytest.raises(DataError, match="different classes: blue, green, yellow"):
        tasks.probe(subject, read_labelled(colour_folder), read_labelled(tmp_path / "other"), 1.0)


def test_a_typographic_attack_writes_a_wrong_word_and_counts_the_drop(subject, colour_folder):
    """A reader: it knows colours, but where black ink stands on white it believes the ink."""

    def read_or_see(pictures):
        rows = np.array([[0.0] * 6] * len(pictures), np.float32)
        for row, picture in zip(rows, pictures, strict=True):
            label = np.asarray(picture.convert("L")).max() > 250
            row[:] = np.eye(6)[4] if label else subject.embed_images([picture])[0]
        return rows

    reader = Subject(read_or_see, subject.embed_texts)
    attack, record, _ = tasks.typographic(reader, read_labelled(colour_folder), PLAIN)
    metrics = record["metrics"]
    assert metrics["acc1_clean"] == 1.0
    assert metrics["drop"] == pytest.approx(1.0 - metrics["acc1_attacked"])
    assert metrics["drop"] > 0.5  # "white" is no class: every attacked image looks the same
    assert (attack.written != attack.clean.labels).all()


def test_an_attack_needs_a_wrong_class(subject, tmp_path):
    (tmp_path / "red").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red" / "1.png")
    with pytest.raises(ConfigError, match="has 1 class"):
        tasks.typographic(subject, read_labelled(tmp_path), PLAIN)


def test_wrong_classes_are_always_wrong_and_always_the_same():
    labels = np.arange(1000) % 7
    written = wrong_classes(labels, 7)
    assert (written != labels).all() and set(written) == set(range(7))
    assert (written == wrong_classes(labels, 7)).all()


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (40, 400)])
def test_the_word_stays_within_the_picture_and_leaves_the_rest(size):
    picture = Image.new("RGB", size, (20, 120, 200))
    written = np.asarray(write_word(picture, "a rather long name")).astype(int)
    changed = np.abs(written - np.asarray(picture)).sum(-1) > 0
    assert 0.01 < changed.mean() < 0.5
    assert not changed[: size[1] // 2].any()
    assert picture.getpixel((0, 0)) == (20, 120, 200)  # the given image is not written to


def test_bias_by_hand(subject, colour_folder):
    data = read_labelled(colour_folder)
    measured, record, _ = tasks.bias(subject, data, ["a red thing", "a blue thing"])
    means = measured.means()
    assert means.shape == (4, 2) and np.allclose(means.sum(1), 1)
    assert means[0, 1] > 0.8 and means[2, 0] > 0.8  # blue images, red images
    assert record["metrics"]["largest_gap"] == pytest.approx(np.ptp(means, axis=0).max())
    assert [row["group"] for row in record["groups"]] == ["blue", "green", "red", "yellow"]


def test_bias_needs_two_captions_and_pictures_in_every_group(subject, colour_folder):
    with pytest.raises(DataError, match="1 caption"):
        tasks.bias(subject, read_labelled(colour_folder), ["a red thing"])
    (colour_folder / "white").mkdir()
    with pytest.raises(DataError, match="group white"):
        tasks.bias(subject, read_labelled(colour_folder), ["a red thing", "a blue thing"])


def captions(path, colour_folder, lines):
    rows = "".join(f"{colour_folder}/{name}\t{text}\t{code}\n" for name, text, code in lines)
    path.write_text("filepath\ttitle\tlanguage\n" + rows)
    return read_captioned(path)


def test_retrieval_of_each_language_and_the_mean_of_the_others(subject, colour_folder, tmp_path):
    lines = []
    for name in ("red", "green", "blue"):
        picture = f"{name}/0.png"
        lines += [(picture, f"a {name} thing", "en"), (picture, f"{name} in xx", "xx")]
        lines.append((picture, "nothing said", "yy"))
    data = captions(tmp_path / "pairs.csv", colour_folder, lines)
    records, *_ = tasks.retrieval(subject, data, ["en", "xx", "yy"])
    found = {r["language"]: r["metrics"]["image_retrieval_recall@1"] for r in records}
    assert found["en"] == found["xx"] == 1.0
    assert found["yy"] == pytest.approx(1 / 3)  # one text for all: it finds one image first
    assert found["mean"] == pytest.approx((1 + 1 / 3) / 2)
    assert records[-1]["mean_of"] == ["xx", "yy"] and records[0]["texts"] == 3


def test_a_language_without_captions_is_refused_before_anything_is_embedded(
    colour_folder, tmp_path
):
    def never(_):
        raise AssertionError("embedded first")

    data = captions(tmp_path / "pairs.csv", colour_folder, [("red/0.png", "a red thing", "en")])
    with pytest.raises(DataError, match="'xx'; there are: en"):
        tasks.retrieval(tasks.Subject(never, never), data, ["en", "xx"])


def test_retrieval_without_an_unreadable_picture(subject, colour_folder, tmp_path):
    (colour_folder / "green" / "0.png").write_bytes(b"broken")
    lines = [(f"{name}/0.png", f"a {name} thing", "") for name in ("red", "green", "blue")]
    records, *_ = tasks.retrieval(
        subject, captions(tmp_path / "p.csv", colour_folder, lines + lines[:1])
    )
    (record,) = records
    assert (record["images"], record["texts"], len(record["skipped"])) == (2, 3, 1)
    assert record["metrics"]["text_retrieval_recall@1"] == 1.0


def test_class_embeddings_are_means_over_templates_of_unit_length(subject):
    rows = class_embeddings(subject.embed_texts, ["red", "blue"], ["a {}", "{} and green"])
    one, two = subject.embed_texts(["a red", "red and green"])
    expected = (one + two) / np.linalg.norm(one + two)
    np.testing.assert_allclose(rows[0], expected, atol=1e-6)


def test_class_embeddings_are_kept_per_model_names_and_templates(subject, tmp_path, caplog):
    asked = []

    def embed(texts):
        asked.extend(texts)
        return subject.embed_texts(texts)

    def get(names=("red", "blue"), model="m1"):
        return class_embeddings(embed, names, ["a {}"], cache=tmp_path, fingerprint=model)

    first, again = get(), get()
    assert asked == ["a red", "a blue"] and np.array_equal(first, again)
    get(model="m2")
    get(names=("red", "green"))
    assert len(asked) == 6
    for file in (tmp_path / "class-embeddings").glob("*.npy"):
        file.write_bytes(b"damaged")
    assert np.array_equal(get(), first)
    assert len(asked) == 8 and "damaged" in caplog.text


def test_each_text_is_embedded_once(subject):
    asked = []

    def embed(texts):
        asked.extend(texts)
        return subject.embed_texts(texts)

    rows = embed_sentences(embed, ["red", "blue", "red"])
    assert asked == ["red", "blue"] and np.array_equal(rows[0], rows[2]) and len(rows) == 3


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.full((2, 3), np.nan), "2 of 2 embeddings are not finite"),
        (np.ones((2, 3)), "length 1.732, expected 1"),
        (np.eye(3), r"shape \(3, 3\)"),
    ],
)
def test_embeddings_that_mean_nothing_are_refused(rows, says):
    with pytest.raises(DataError, match=says):
        checked(rows, 2)


def test_pictures_may_be_changed_before_they_are_embedded(subject):
    red = [Image.new("RGB", (8, 8), (220, 30, 30))] * 3
    blue = Image.new("RGB", (8, 8), (30, 60, 220))
    found = embed_sources(
        subject.embed_images, red, change=lambda index, picture: blue if index == 1 else picture
    )
    assert found.rows.argmax(1).tolist() == [0, 2, 0] and found.kept.tolist() == [0, 1, 2]
