"""Pairs are scored, filtered, and read by the trainer's own reader."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.drawing import compose, paint
from nnclip.embeddings import unit
from nnclip.errors import ConfigError, DataError
from nnclip.scores import scoring
from nnclip.scores.choosing import Rule, chosen, top_of
from nnclip.scores.table import Scores, read_scores
from nnclip.scores.writing import text_only
from nnclip.training.data.readers import read_pairs

CAPTIONS = ["a dog", "a red ball", "grass", "a dog on the beach", "a star"]
TEXT = "Sale ends on Monday. Ask at the counter for details, or write to us at any time."


def page(size):
    """An image of writing alone."""
    image = Image.new("RGB", (size, size), (250, 246, 235))
    words, lines = TEXT.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 15:
            lines.append("")
        lines[-1] += f" {word}"
    font = ImageFont.load_default(size / 10)
    ImageDraw.Draw(image).multiline_text((4, 4), "\n".join(lines), fill=(30, 20, 60), font=font)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images with a caption each: one twice, one unreadable, one with two captions."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = ["filepath,title"]
    for number in range(12):
        name = f"{number:02d}.png"
        paint(compose("train", 3, 0 if number == 7 else number), 40).save(folder / name)
        rows.append(f"{name},{CAPTIONS[number % 5]}")
    (folder / "05.png").write_bytes(b"nothing")
    rows.append("02.png,snow")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def scores(folder, small_h5, tmp_path_factory):
    """The table of their scores."""
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    command = ["score", "pairs.csv", "-o", str(path), *common(small_h5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # paths in the table hold elsewhere
        assert main([*command, "--histogram", str(path.with_suffix(".svg"))]) == 0
    assert path.with_suffix(".svg").stat().st_size > 1000
    assert not list(path.parent.glob("*.parts"))
    return path


def common(model):
    # with random weights all images are alike
    return ["-m", str(model), "--precision", "fp32", "--workers", "0", "--near", "0.9995"]


def test_scores_are_cosines_of_both_towers(folder, scores, small_h5):
    found, model = read_scores(scores), CLIP(small_h5, precision="fp32")
    assert len(found) == 13 and found.probabilities is None
    for number, pair in enumerate(found.pairs):
        if pair.path.endswith("05.png"):
            assert np.isnan(found.cosines[number]) and "05.png" in found.errors[number]
            continue
        image = unit(model.encode_image(model.preprocess_image(pair.path)))
        text = unit(model.encode_text(model.tokenize(pair.captions)))
        assert found.cosines[number] == pytest.approx(float((image @ text.T)[0, 0]), abs=2e-3)
    expected = 2.5 * np.maximum(found.cosines, 0)
    np.testing.assert_allclose(found.measure("clip_score"), expected)
    with pytest.raises(ConfigError, match="which judges a text among others"):
        found.measure("probability")
    near = {
        pair.path[-6:]: name[-6:]
        for pair, name in zip(found.pairs, found.near, strict=True)
        if name
    }
    assert near["07.png"] == "00.png"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_every_form_of_the_table_says_the_same(folder, scores, small_h5, suffix, tmp_path):
    path = tmp_path / f"scores{suffix}"
    assert main(["score", str(folder / "pairs.csv"), "-o", str(path), *common(small_h5)]) == 0
    one, other = read_scores(scores), read_scores(path)
    np.testing.assert_array_equal(one.cosines, other.cosines)
    assert (one.pairs, one.near, one.text_only) == (other.pairs, other.near, other.text_only)


def test_the_sigmoid_loss_gives_probabilities(folder, sigmoid_h5, tmp_path):
    path = tmp_path / "scores.csv"
    assert main(["score", str(folder / "pairs.csv"), "-o", str(path), *common(sigmoid_h5)]) == 0
    found, scorer = read_scores(path), CLIP(sigmoid_h5).scorer
    logits = scorer.scale * found.cosines + scorer.bias
    np.testing.assert_allclose(found.measure("probability"), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_scoring_goes_on_where_it_stopped(folder, scores, small_h5, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", 4)
    path, whole, calls = tmp_path / "scores.csv", scoring.embed_decoded, []

    def stopped(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*given)

    command = ["score", str(folder / "pairs.csv"), "-o", str(path), *common(small_h5)]
    monkeypatch.setattr(scoring, "embed_decoded", stopped)
    assert main([*command, "--batch", "4"]) == 130
    assert not path.exists() and len(list((tmp_path / "scores.csv.parts").rglob("*.npz"))) == 2
    assert main([*command, "--batch", "4"]) == 0
    assert len(calls) == 4  # the third block again, no other
    np.testing.assert_allclose(read_scores(path).cosines, read_scores(scores).cosines, atol=1e-5)
    assert not list(tmp_path.glob("*.parts"))


def test_ranks_share_the_blocks(folder, scores, small_h5, tmp_path, monkeypatch):
    """Two processes after one another, as each of them works through its share."""
    monkeypatch.setattr(scoring, "BLOCK", 4)
    from nnclip.image import USUAL_DECODING
    from nnclip.training.data.pairs import by_image

    table = by_image(read_pairs(str(folder / "pairs.csv")))
    model = CLIP(small_h5, precision="fp32")
    task = scoring.Task(table, model, USUAL_DECODING, 0, 4, 0.9995)

    class Rank:
        size = 2

        def __init__(self, rank):
            self.rank = rank

        def collect(self, work):
            return work()

    assert scoring.score(task, tmp_path / "parts", Rank(1)) is None
    assert [p.name for p in (tmp_path / "parts").rglob("*.npz")] == ["000001.npz"]
    found = scoring.score(task, tmp_path / "parts", Rank(0))
    np.testing.assert_allclose(found.cosines, read_scores(scores).cosines, atol=1e-5)


@pytest.mark.parametrize("out", ["kept.csv", "kept.tsv", "kept.jsonl", "kept.parquet", "shards"])
def test_what_is_kept_is_read_by_the_trainer(folder, scores, out, tmp_path, capsys):
    report = tmp_path / "report.html"
    command = ["filter", str(scores), "-o", str(tmp_path / out), "--top", "6", "--json"]
    assert main([*command, "--report", str(report)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == 6 and told["pairs"] == 13
    found = read_scores(scores)
    order = np.argsort(-np.nan_to_num(found.cosines, nan=-9), kind="stable")[:6]
    expected = sorted(found.pairs[number].captions[0] for number in order)
    table = read_pairs(str(tmp_path / out), every_caption=out != "shards")
    assert sorted(table.captions()) == expected
    html = report.read_text()
    assert "6 are kept" in html and html.count("data:image/jpeg") > 12
    assert not re.search(r'(src|href)="(?!data:)', html)  # needs no other file


def test_images_inside_shards_are_kept_in_shards_and_parquet(
    folder, scores, small_h5, tmp_path, capsys
):
    shards = tmp_path / "shards"
    assert main(["filter", str(scores), "-o", str(shards), "--min", "-1", "--drop", "near"]) == 0
    again = tmp_path / "again.parquet"
    command = ["filter", str(shards), "--top", "50%", *common(small_h5)]
    assert main([*command, "-o", str(again)]) == 0
    assert (tmp_path / "again.scores.csv").exists()
    table = read_pairs(str(again))
    assert len(table) > 3 and table[0].form == "table"
    capsys.readouterr()
    assert main([*command, "-o", str(tmp_path / "names.csv")]) == 2
    assert "found images inside" in capsys.readouterr().err
    assert main(["filter", str(scores), "-o", str(shards), "--min", "0"]) == 2
    assert "found pairs-000000.tar in it" in capsys.readouterr().err


def scored(*cosines):
    found = Scores(np.array(cosines, np.float32))
    found.near, found.text_only = ["", "x", "", ""], [False, False, True, False]
    return found


@pytest.mark.parametrize(
    "rule, kept",
    [
        (Rule(least=0.25), [0, 1, 2]),
        (Rule(top=2), [1, 2]),
        (Rule(top=0.25), [1]),
        (Rule(top=2, drop=("near",)), [0, 2]),
        (Rule(least=0, drop=("near", "text-only")), [0]),
        (Rule(by="clip_score", least=0.75), [1, 2]),
    ],
)
def test_rules(rule, kept):
    found, least = chosen(scored(0.25, 0.5, 0.375, np.nan), rule)
    assert np.flatnonzero(found).tolist() == kept
    values = scored(0.25, 0.5, 0.375, np.nan).measure(rule.by)
    assert least == pytest.approx(min(values[kept]))


def test_a_rule_that_keeps_nothing_is_refused():
    with pytest.raises(DataError, match=r"the highest cosine is 0\.500"):
        chosen(scored(0.25, 0.5, 0.375, np.nan), Rule(least=0.6))


def test_a_measure_that_the_model_does_not_give_is_refused_at_once(
    folder, small_h5, tmp_path, capsys
):
    command = ["filter", str(folder / "pairs.csv"), "-o", str(tmp_path / "kept.csv"), "--min", "0"]
    assert main([*command, "--by", "probability", *common(small_h5)]) == 2
    assert "which judges a text among others" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_captions_that_are_cut_are_counted(folder, small_h5, tmp_path, capsys):
    table = tmp_path / "long.csv"
    long = " ".join(["a dog and a ball"] * 9)
    table.write_text(f"filepath,title\n{folder / '00.png'},{long}\n{folder / '01.png'},a dog\n")
    command = ["score", str(table), "-o", str(tmp_path / "scores.csv"), *common(small_h5)]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cut"] == 1


def test_a_damaged_part_is_named(folder, small_h5, tmp_path):
    (tmp_path / "000000.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"000000\.npz: cannot be read"):
        scoring._read(tmp_path / "000000.npz")


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "110%", "0%", "x", "%"])
def test_top_is_a_share_or_a_number(text):
    with pytest.raises(ConfigError, match="expected a share such as 30%"):
        top_of(text)
    assert (top_of("30%"), top_of("1000")) == (0.3, 1000)


@pytest.mark.parametrize("size", [96, 224])
def test_writing_alone_is_told_from_drawn_scenes(size):
    scenes = [paint(compose("train", 8, index), size) for index in range(24)]
    turned = [page(size), page(size).convert("L").convert("RGB")]
    dark = Image.eval(page(size), lambda level: 255 - level)
    plain = Image.new("RGB", (size, size), "white")
    images = [*turned, dark, plain, *scenes]
    planes = np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
    assert text_only(planes).tolist() == [True] * 3 + [False] * 25


@pytest.mark.parametrize(
    "command, said",
    [
        (["score", "pairs.csv", "-o", "scores.txt"], "found .txt, expected one of .parquet"),
        (["score", "pairs.csv", "-o", "s.csv", "--near", "2"], "--near 2: expected"),
        (["score", "no.csv", "-o", "s.csv"], "no such file or folder"),
        (["filter", "no.csv", "-o", "s.zip", "--min", "0.2"], "found .zip, expected one of"),
        (["filter", "no.csv", "-o", "out", "--top", "200%"], "expected a share such as 30%"),
    ],
)
def test_bad_input_gets_a_sentence(command, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert said in capsys.readouterr().err
