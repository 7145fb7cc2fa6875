import io
import json
import os
import subprocess
import sys

import pytest
import tokenizers

from nnclip.cli import main
from nnclip.errors import ConfigError, DataError
from nnclip.text import load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def captions(texts):
    return texts.languages(2000, seed=0)


@pytest.fixture(scope="module")
def trained(captions):
    return train_tokenizer(captions, vocab_size=1500)


def test_it_has_the_size_asked_for(trained):
    assert (trained.vocab_size, trained.sot, trained.eot) == (1500, 1498, 1499)


def test_it_shortens_its_language_and_keeps_every_text(trained, texts):
    unseen = texts.languages(50, seed=1)
    written = sum(len(text.encode()) for text in unseen)
    assert sum(len(trained.encode(text)) for text in unseen) < written / 2
    assert trained.decode(trained.encode("Ein Köter läuft 走る 🐕")) == "Ein Köter läuft 走る 🐕"


def test_case_is_kept_unless_asked(captions):
    assert "İstanbul" in train_tokenizer(captions, 1500).decode(
        train_tokenizer(captions, 1500).encode("kırmızı İstanbul")
    )
    lower = train_tokenizer(captions, 1500, lowercase=True)
    assert lower.encode("STRASSE") == lower.encode("strasse")


def test_the_end_is_the_largest_id(trained):
    ids = trained(["un perro", "x"], context_length=32)
    assert (ids.max(axis=1) == trained.eot).all()


def test_hugging_face_runs_its_file(trained, tmp_path):
    trained.save(tmp_path / "v.json")
    rust = tokenizers.Tokenizer.from_file(str(tmp_path / "v.json"))
    text = "Zwei Männer überqueren die Straße"
    assert rust.encode(text).ids == [trained.sot, *trained.encode(text), trained.eot]
    assert load_tokenizer(tmp_path / "v.json") == trained


def test_few_texts_give_fewer_tokens_and_a_warning(caplog):
    assert train_tokenizer(["abab abab"] * 3, vocab_size=600).vocab_size < 600
    assert "600 were asked for" in caplog.text


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "no pair of letters"), ([" ", "<|endoftext|>"], "no pair"), (["a", 3], "text 1 is int")],
)
def test_texts_that_cannot_train_are_refused(texts, message):
    with pytest.raises(DataError, match=message):
        train_tokenizer(texts)


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocab_size is 513, expected 514 or more"):
        train_tokenizer(["a dog"], vocab_size=513)


def test_the_command_gives_the_same_file_in_every_process(captions, tmp_path):
    source = tmp_path / "pairs.tsv"
    rows = [f"{row}.jpg\t{text}" for row, text in enumerate(captions)]
    source.write_text("\n".join(["filepath\ttitle", *rows]), encoding="utf-8")
    written = []
    for name in ("first.json", "second.json"):
        command = [sys.executable, "-m", "nnclip", "train-tokenizer", str(source), "--json"]
        flags = ["--column", "title", "--vocab-size", "1500", "-o", str(tmp_path / name)]
        environment = {**os.environ, "PYTHONHASHSEED": str(len(written))}
        done = subprocess.run(
            [*command, *flags], capture_output=True, text=True, check=True, env=environment
        )
        assert json.loads(done.stdout) == {"path": str(tmp_path / name), "vocab_size": 1500}
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert b"jpg" not in written[0]


def test_the_command_reads_lines_from_stdin(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("A Dog\nA Dog\n"))
    output = tmp_path / "v.json"
    assert main(["train-tokenizer", "-", "--lowercase", "-o", str(output)]) == 0
    assert capsys.readouterr().out.startswith(f"{output}: 516 tokens")
    assert load_tokenizer(output).lowercase


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (
            "image,caption\n1,a dog\n",
            ["--column", "title"],
            "no column title; it has image, caption: name the right one (--column)",
        ),
        ("", ["--column", "title"], "no column title; it has none"),
        (None, [], "pairs.csv: cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, content, flags, message):
    source = tmp_path / "pairs.csv"
    if content is not None:
        source.write_text(content)
    assert main(["train-tokenizer", str(source), "-o", str(tmp_path / "v.json"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_the_command_says_where_it_cannot_write(tmp_path, capsys):
    source = tmp_path / "lines.txt"
    source.write_text("a dog\na dog\n")
    assert main(["train-tokenizer", str(source), "-o", str(tmp_path / "no" / "v.json")]) == 2
    assert "cannot write" in capsys.readouterr().err
