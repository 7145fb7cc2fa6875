"""The tokenizer of a folder of transformers: tokenizer.json, and what tokenizer_config.json adds.

The classes of transformers that run a tokenizer.json change it when they load it. What they change
is written into the JSON that the .h5 carries.

Source: https://github.com/huggingface/transformers, tokenization_utils_tokenizers.py, and the
tokenizers of siglip, siglip2 and bert below models.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnclip.convert.dialect import Settings, Source, read_settings, read_tokenizer, whole_number
from nnclip.errors import CheckpointError, DataError
from nnclip.files import read_regular
from nnclip.json_text import TOKENIZER_BYTES, brief, parse_json
from nnclip.text.tokenizer import openai_tokenizer, tokenizer_from_json

FILE, CONFIG, SPECIALS = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
WORDS = "vocab.txt"  # of BERT's tokenizer, a token a line
UNTOLD_LEFT = ("Siglip2Tokenizer", "GemmaTokenizer")  # where padding_side is not told
BERT_NORMALIZER = {
    "do_lower_case": "lowercase",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "strip_accents": "strip_accents",
}
# cleaning -> the class that does it and nothing more
WRITTEN = {"none": "PreTrainedTokenizerFast", "words": "SiglipTokenizer"}
NO_LENGTH = 1 << 31  # transformers writes 1e30 where a tokenizer has none


def of_clip(source: Source) -> dict[str, Any]:
    """Metadata of the tokenizer of CLIP's text tower: nothing where it is OpenAI's."""
    text = _content(source)
    if text is None:
        return {}
    try:
        found = tokenizer_from_json(text)
    except DataError:
        return of_any(source, {})
    return {} if found == openai_tokenizer() else {"tokenizer": text}


def of_any(source: Source, cfg: Settings) -> dict[str, Any]:
    """Metadata of any other tokenizer of a text tower that is no encoder.

    Args:
        source: the checkpoint.
        cfg: the settings of the text tower.

    Raises:
        CheckpointError: there is none, or it is used in a way that is not computed.
    """
    text, told = of_encoder(source), _told(source)
    rows = whole_number(cfg, "max_position_embeddings", 0)
    length = longest(source)
    if length is not None and length < rows:
        raise CheckpointError(
            f"{CONFIG}: found model_max_length {length}, expected {rows}, the positions of the "
            "text tower"
        )
    return {
        "text_tokenizer": "json",
        "text_clean": _clean(told),
        "text_pad": _pad(json.loads(text), told, cfg),
        **({"text_pad_left": True} if _is_left(told) else {}),
        "tokenizer": text,
    }


def of_encoder(source: Source) -> str:
    """The JSON of a tokenizer, as its class in transformers runs it; CheckpointError if none."""
    text = _content(source)
    if text is None:
        raise CheckpointError(
            f"found no {FILE} beside it, expected that of the text tower; in a folder with its "
            'vocabulary, python -c "from transformers import AutoTokenizer as A; '
            "A.from_pretrained('.').save_pretrained('.')\" writes one"
        )
    return _as_loaded(text, _told(source))


def settings_of(text: Any, stored: str) -> dict[str, Settings]:
    """The tokenizer_config.json of a text tower whose tokenizer.json this is.

    Raises:
        CheckpointError: no class of transformers cleans texts so.
    """
    if text.tokens == "clip":
        return {CONFIG: {"tokenizer_class": "CLIPTokenizer", "model_max_length": text.context}}
    if text.clean not in WRITTEN:
        raise CheckpointError(
            f"found texts cleaned by {text.clean!r}, but the code of transformers knows only "
            f"{' and '.join(WRITTEN)}"
        )
    told: dict[str, Any] = {
        "tokenizer_class": WRITTEN[text.clean],
        "model_max_length": text.context,
        "pad_token": _tokens(json.loads(stored)).get(text.pad),
        "padding_side": "left" if getattr(text, "pad_left", False) else "right",
    }
    masked = "mask" in text.beside
    return {CONFIG: told if masked else {**told, "model_input_names": ["input_ids"]}}


def longest(source: Source) -> int | None:
    """Tokens of the longest text, None where tokenizer_config.json does not say it."""
    found = _told(source).get("model_max_length")
    return found if type(found) is int and 0 < found < NO_LENGTH else None


def _folder(source: Source) -> Path:
    return source.files[0].parent


def _content(source: Source) -> str | None:
    folder = _folder(source)
    if (folder / FILE).is_file():
        return read_tokenizer(folder / FILE)
    return _of_words(folder / WORDS, _told(source)) if (folder / WORDS).is_file() else None


def _told(source: Source) -> Settings:
    """What the files beside tokenizer.json say; special tokens once stood in one of their own."""
    paths = [_folder(source) / name for name in (SPECIALS, CONFIG)]
    return {k: v for path in paths if path.is_file() for k, v in read_settings(path).items()}


def _class(told: Settings) -> str:
    return str(told.get("tokenizer_class") or "").removesuffix("Fast")


def _clean(told: Settings) -> str:
    """What the class does to a text in Python; a key of CLEANINGS."""
    if _class(told) != "SiglipTokenizer":
        return "none"
    if not told.get("do_lower_case", True):
        raise CheckpointError(f"{CONFIG}: found do_lower_case false, expected true for SigLIP")
    return "words"


def _is_left(told: Settings) -> bool:
    side = told.get("padding_side")
    if side not in (None, "left", "right"):
        raise CheckpointError(f"{CONFIG}: found padding_side {brief(side)}, expected left or right")
    return side == "left" or (side is None and _class(told) in UNTOLD_LEFT)


def _token(told: Settings, key: str) -> str | None:
    found = told.get(key)
    found = found.get("content") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def _pad(tree: Mapping[str, Any], told: Settings, cfg: Settings) -> int:
    """The id of the padding: the tokenizer's, else the one that config.json tells."""
    token = _token(told, "pad_token")
    if token is None:
        return whole_number(cfg, "pad_token_id", 1)
    return _id(tree, token)


def _tokens(tree: Mapping[str, Any]) -> dict[int, str]:
    """Id -> token of a tokenizer."""
    vocab = (tree.get("model") or {}).get("vocab") or {}
    pairs = vocab.items() if isinstance(vocab, dict) else ((v[0], i) for i, v in enumerate(vocab))
    added = tree.get("added_tokens") or ()
    return {int(i): word for word, i in pairs} | {int(one["id"]): one["content"] for one in added}


def _id(tree: Mapping[str, Any], token: str) -> int:
    """The id of a token; CheckpointError if the tokenizer lacks it."""
    found = next((i for i, word in _tokens(tree).items() if word == token), None)
    if found is None:
        raise CheckpointError(f"{CONFIG}: found the token {token!r}, expected one of {FILE}")
    return found


def _as_loaded(text: str, told: Settings) -> str:
    """The JSON with what the class changes: letters, not the start and the end."""
    tree = parse_json(text, TOKENIZER_BYTES)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{FILE}: found {brief(tree)}, expected an object")
    changed = dict(tree)
    normalizer = tree.get("normalizer") or {}
    if _class(told) == "Siglip2Tokenizer" and '"Lowercase"' not in json.dumps(normalizer):
        steps = [{"type": "Lowercase"}, *([normalizer] if normalizer else [])]
        changed["normalizer"] = {"type": "Sequence", "normalizers": steps}
    if _class(told) == "BertTokenizer" and normalizer.get("type") == "BertNormalizer":
        own = {ours: told[key] for key, ours in BERT_NORMALIZER.items() if key in told}
        changed["normalizer"] = {**normalizer, **own}
    return text if changed == tree else json.dumps(changed, ensure_ascii=False)


def _template(tree: Mapping[str, Any], start: str, end: str) -> dict[str, Any]:
    """A post-processor that puts these tokens around a text."""
    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in (start, end))
    one = [first, {"Sequence": {"id": "A", "type_id": 0}}, last]
    two = [*one, {"Sequence": {"id": "B", "type_id": 1}}]
    marks = {t: {"id": t, "ids": [_id(tree, t)], "tokens": [t]} for t in (start, end)}
    return {"type": "TemplateProcessing", "single": one, "pair": two, "special_tokens": marks}


def _of_words(path: Path, told: Settings) -> str:
    """The tokenizer.json of BERT's vocab.txt, as transformers' BertTokenizer makes it."""
    try:
        text = read_regular(path, TOKENIZER_BYTES)[0].decode("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: found no list of tokens ({error})") from error
    lines = io.StringIO(text, newline=None)  # as files are read: U+2028 ends no line
    vocab = {line.rstrip("\n"): row for row, line in enumerate(lines)}
    unknown, start, end, pad = (
        _token(told, f"{name}_token") or f"[{name.upper()}]"
        for name in ("unk", "cls", "sep", "pad")
    )
    flags = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None}
    own = {ours: told.get(key, flags[key]) for key, ours in BERT_NORMALIZER.items()}
    mask = _token(told, "mask_token") or "[MASK]"
    tree: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [
            {**ADDED, "id": vocab[token], "content": token}
            for token in sorted(
                {unknown, start, end, pad, mask} & vocab.keys(), key=lambda t: vocab[t]
            )
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, **own},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }
    return json.dumps({**tree, "post_processor": _template(tree, start, end)}, ensure_ascii=False)


ADDED = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
