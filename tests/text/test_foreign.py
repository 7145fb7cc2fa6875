"""Tokenizers of other encoders against transformers, from vocabularies trained here.

One is WordPiece as BERT's, one Unigram as XLM-R's: their normalisation, splitting and special
tokens are those of the published ones.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from nnclip.errors import ConfigError, DataError
from nnclip.text import ForeignTokenizer

CONTEXT = 32


def wordpiece(texts) -> str:
    """As BERT's: start [CLS], end [SEP], padding 0."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(vocab_size=600, special_tokens=specials, show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    # as in published files, which ask for the length of their own training
    made.enable_padding(length=20)
    made.enable_truncation(20)
    return made.to_str()


def unigram(texts) -> str:
    """As XLM-R's: start <s>, end </s>, padding 1."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made.to_str()


@pytest.fixture(scope="module", params=["wordpiece", "unigram"])
def trained(request, texts):
    captions = texts.mixed(300, seed=1)
    clean = [one.encode("utf-8", "ignore").decode() for one in captions]
    make, pad = (wordpiece, 0) if request.param == "wordpiece" else (unigram, 1)
    return ForeignTokenizer(make(clean), pad)


@pytest.fixture(scope="module")
def captions(texts):
    return [one.encode("utf-8", "ignore").decode() for one in texts.mixed(200, seed=2)] + ["", " "]


@pytest.mark.torch
def test_ids_are_those_of_transformers(trained, captions):
    from transformers import PreTrainedTokenizerFast

    pad = "[PAD]" if trained.pad == 0 else "<pad>"
    reference = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(trained.json), pad_token=pad
    )
    for truncation, length in ((True, 12), (True, CONTEXT), (False, 400)):
        wanted = reference(
            captions, padding="max_length", truncation=truncation, max_length=length
        )["input_ids"]
        found = trained(captions, length, truncate=truncation)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, wanted)


def test_one_by_one_and_from_threads_is_the_same(trained, captions):
    together = trained(captions, CONTEXT, truncate=True)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda one: trained(one, CONTEXT, truncate=True)[0], captions))
    np.testing.assert_array_equal(together, alone)
    copy = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(copy(captions, CONTEXT, truncate=True), together)


def test_what_was_encoded_is_read_back(trained):
    text = "a black dog and рыжая кошка"
    assert trained.decode(trained(text, 64)[0]) == text
    assert trained.decode(trained.encode(text)) == text
    with pytest.raises(DataError, match="token ids 5 to 99999, expected 0 to"):
        trained.decode([5, 99999])


def test_texts_that_do_not_fit_or_are_none(trained):
    with pytest.raises(DataError, match=r"text 1 makes \d+ tokens with its start and end, expec"):
        trained(["a dog", "dog " * 50], CONTEXT)
    with pytest.raises(ConfigError, match="context_length is 2, expected 3 or more"):
        trained("a dog", 2)
    for wrong in ([], [5], 5):
        with pytest.raises(DataError, match="text"):
            trained(wrong, CONTEXT)
    lone = trained("a \ud800 dog", CONTEXT)  # half a character, as broken JSON brings it
    np.testing.assert_array_equal(lone, trained("a \ufffd dog", CONTEXT))


def test_what_is_no_tokenizer_is_refused_when_it_is_made(trained):
    for content in ("", "{}", '{"model": {"type": "BPE"}}'):
        with pytest.raises(DataError, match=r"some\.h5: found no tokenizer that `tokenizers`"):
            ForeignTokenizer(content, 0, "some.h5")
    with pytest.raises(DataError, match="expected one numbered 100000, the padding"):
        ForeignTokenizer(trained.json, 100_000)
