"""The tokenizer of an open_clip model: CLIP's own, or the tokenizer.json that lies beside it.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/tokenizer.py, HFTokenizer.
"""

import json
from typing import Any

from nnclip.convert.dialect import Settings, Source, read_tokenizer
from nnclip.convert.families import check
from nnclip.errors import CheckpointError
from nnclip.json_text import TOKENIZER_BYTES, read_json

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
OWN = {"clean": ("lower",)}
FOREIGN = {"clean": ("whitespace", "canonicalize", "lower"), "strip_sep_token": (False, True)}


def describe(source: Source, cfg: Settings) -> dict[str, Any]:
    """What the .h5 says of the tokenizer, and the tokenizer itself where it is not CLIP's own.

    Raises:
        CheckpointError: a setting that is not known, or no tokenizer.json beside the checkpoint.
    """
    told = cfg.get("tokenizer_kwargs") or {}
    if not (cfg.get("hf_tokenizer_name") or cfg.get("hf_model_name")):
        check("tokenizer_kwargs", told, OWN)
        return {}
    check("tokenizer_kwargs", told, FOREIGN)
    folder = source.files[0].parent
    tree, names = _read(source, FILE), _read(source, CONFIG)
    sep = _id(tree, names, "sep_token") if told.get("strip_sep_token") else 0
    return {
        "text_tokenizer": "json",
        "text_clean": told.get("clean", "whitespace"),
        "text_pad": _id(tree, names, "pad_token"),
        **({"text_zeroed": sep} if sep else {}),
        "tokenizer": read_tokenizer(folder / FILE),
    }


def settings_of(text: Any) -> dict[str, Any]:
    """The part of `text_cfg` that names the tokenizer of a text tower."""
    if text.tokens == "clip":
        return {}
    if text.clean not in FOREIGN["clean"]:
        raise CheckpointError(
            f"found texts cleaned by {text.clean!r}, but the code of open_clip knows only "
            f"{', '.join(map(str, FOREIGN['clean']))}"
        )
    told = {} if text.clean == "whitespace" else {"clean": text.clean}
    if text.zeroed:
        told["strip_sep_token"] = True
    return {"hf_tokenizer_name": ".", **({"tokenizer_kwargs": told} if told else {})}


def _read(source: Source, name: str) -> Any:
    path = source.files[0].parent / name
    try:
        tree = read_json(path, TOKENIZER_BYTES)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); expected the files of the model's tokenizer beside "
            'it: in a folder with its vocabulary, python -c "from transformers import '
            "AutoTokenizer as A; A.from_pretrained('.').save_pretrained('.')\" writes them"
        ) from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: found a {type(tree).__name__}, expected an object")
    return tree


def _id(tree: Settings, names: Settings, key: str) -> int:
    """The id of a special token that tokenizer_config.json names."""
    token = names.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    for added in tree.get("added_tokens") or ():
        if isinstance(added, dict) and added.get("content") == token:
            return int(added["id"])
    vocab = (tree.get("model") or {}).get("vocab") or {}
    pairs = vocab.items() if isinstance(vocab, dict) else ((v[0], i) for i, v in enumerate(vocab))
    found = next((int(i) for word, i in pairs if word == token), None)
    if found is None:
        raise CheckpointError(
            f"{CONFIG}: {key}: found {json.dumps(token)}, expected a token of {FILE}"
        )
    return found
