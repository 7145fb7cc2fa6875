import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tokenizers

from nnclip.assets import asset
from nnclip.errors import ConfigError, DataError
from nnclip.text import (
    Tokenizer,
    end_of_text_positions,
    load_tokenizer,
    openai_tokenizer,
    tokenizer_from_json,
)

SOT, EOT = 49406, 49407
KNOWN = {
    "a diagram": [320, 22697],
    "a dog": [320, 1929],
    "a cat": [320, 2368],
    "Hello World!": [3306, 1002, 256],
    "A photo of a person with black hair": [320, 1125, 539, 320, 2533, 593, 1449, 2225],
    "  Hello   WORLD!! it's 2024 &amp; café ☆ 日本語 👍": [
        *(3306, 1002, 748, 585, 568, 273, 271, 273, 275, 261),
        *(15304, 13439, 39121, 44353, 34002, 508, 4201),
    ],
    "": [],
    " \n\t\u3000": [],
    "<|startoftext|> a dog<|EndOfText|>": [SOT, 320, 1929, EOT],
}


def test_the_bundled_vocabulary_is_openais():
    content = asset("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    expected = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    assert hashlib.sha256(content).hexdigest() == expected


@pytest.mark.parametrize("text", KNOWN)
def test_known_ids(tokenizer, text):
    assert tokenizer.encode(text) == KNOWN[text]


def test_rows_are_start_tokens_end_zeros(tokenizer):
    ids = tokenizer(["a dog", ""], context_length=6)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[SOT, 320, 1929, EOT, 0, 0], [SOT, EOT, 0, 0, 0, 0]]
    assert tokenizer("a dog").shape == (1, 77)


def test_a_text_fits_up_to_the_last_token(tokenizer):
    assert tokenizer("dog " * 75)[0, -1] == EOT
    with pytest.raises(DataError, match=r"text 1 makes 78 tokens .* at most 77: 'dog dog"):
        tokenizer(["a", "dog " * 76])


def test_truncation_keeps_the_end(tokenizer):
    ids = tokenizer("a dog " * 50, context_length=5, truncate=True)
    assert ids.tolist() == [[SOT, 320, 1929, 320, EOT]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "list of texts is empty"),
        (["a", 7], r"text 1 is int \(7\), expected str"),
        ([None], "text 0 is NoneType"),
        (None, "texts are NoneType"),
        (b"a dog", "texts are bytes"),
    ],
)
def test_what_is_no_text_is_refused(tokenizer, texts, message):
    with pytest.raises(DataError, match=message):
        tokenizer(texts)


def test_a_context_without_room_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="context_length is 1"):
        tokenizer("a", context_length=1, truncate=True)


def test_decode_gives_the_words_back(tokenizer):
    row = tokenizer("A black cat's café, 日本語 👍!")[0]
    assert tokenizer.decode(row) == "a black cat 's café , 日本語 👍!"
    assert tokenizer.decode([SOT, EOT]) == ""


def test_decode_of_half_a_character_is_marked(tokenizer):
    assert tokenizer.decode(tokenizer.encode("☃")[:1]).endswith("\ufffd")


@pytest.mark.parametrize("index", [-1, 49408])
def test_decode_refuses_ids_outside_the_vocabulary(tokenizer, index):
    with pytest.raises(DataError, match="expected 0 to 49407"):
        tokenizer.decode([320, index])


def test_ends_are_found_in_integers(tokenizer):
    ids = tokenizer(["a dog", "", "a photo of a cat"])
    assert end_of_text_positions(ids).tolist() == [3, 1, 6]
    # What must not be done: in half precision the start is as large as the end.
    assert ids.astype(np.float16).argmax(axis=1).tolist() == [0, 0, 0]


@pytest.mark.parametrize("ids", [np.zeros((2, 3)), np.zeros(3, int), np.zeros((2, 0), int)])
def test_ends_need_integers_in_rows(ids):
    with pytest.raises(DataError, match="expected integers"):
        end_of_text_positions(ids)


def test_threads_agree(texts):
    batch = texts.mixed(300, seed=5)
    alone = openai_tokenizer()(batch, truncate=True)
    fresh = Tokenizer(openai_tokenizer().merges)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fresh(batch, truncate=True), range(16)))
    assert all(np.array_equal(alone, ids) for ids in found)


def test_a_full_memory_changes_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr("nnclip.text.tokenizer._MEMO_SIZE", 2)
    fresh = Tokenizer(tokenizer.merges)
    text = "one two three four two one"
    assert fresh.encode(text) == fresh.encode(text) == tokenizer.encode(text)
    assert len(fresh._memo) <= 2


def test_pickle_and_file_give_the_same_tokenizer(tokenizer, tmp_path):
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    tokenizer.save(tmp_path / "vocabulary.json")
    loaded = load_tokenizer(tmp_path / "vocabulary.json")
    assert loaded == tokenizer
    assert loaded.encode("Hello World!") == [3306, 1002, 256]


def test_hugging_face_runs_our_file(tokenizer, texts):
    rust = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    for text in texts.english(200, seed=3):
        if "&" not in text:
            assert rust.encode(text).ids == [SOT, *tokenizer.encode(text), EOT]


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read the vocabulary"):
        load_tokenizer(tmp_path / "missing.json")
    path = tmp_path / "other.json"
    for content in ("", "[]", '{"model": {"merges": ["a"]}}', '{"model": {"merges": 3}}'):
        path.write_text(content)
        with pytest.raises(DataError, match=r"other\.json is not a BPE vocabulary"):
            load_tokenizer(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read the vocabulary"):
        load_tokenizer(path)


def test_a_vocabulary_in_another_order_is_refused(tokenizer):
    content = json.loads(tokenizer.to_json())
    content["model"]["vocab"].update({"!": 1, '"': 0})
    with pytest.raises(DataError, match="another order"):
        tokenizer_from_json(json.dumps(content))


def test_merges_of_unknown_tokens_are_refused():
    with pytest.raises(DataError, match="merge 1 joins 'xy' and 'z'"):
        Tokenizer((("a", "b"), ("xy", "z")))
    with pytest.raises(DataError, match="merge 1 joins 'a' and 'b'"):
        Tokenizer((("a", "b"), ("a", "b")))


def test_a_damaged_vocabulary_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("NNCLIP_ASSETS", str(tmp_path))
    with pytest.raises(DataError, match="NNCLIP_ASSETS"):
        openai_tokenizer.__wrapped__()
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"\x1f\x8bcut")
    with pytest.raises(DataError, match="is damaged"):
        openai_tokenizer.__wrapped__()
