"""Makes a tokenizer of `tokenizers` from its JSON, after a look at what it would do to a text.

The library runs in this process and cannot be stopped: what multiplies texts is refused before.
Its expressions need no such look: Oniguruma gives up after 10 million steps, some 0.2 s.
"""

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import tokenizers

from nnclip.errors import DataError
from nnclip.json_text import TOKENIZER_BYTES, brief, parse_json

MOST_STEPS = 64  # normalisers, splitters, processors and decoders together
MOST_GROWTH = 4000  # characters that one may become
MOST_PIECES = 64  # of a template
# a step -> the characters that one character may become; 1 for those that are not here
GROWTH = {
    "NFD": 4,
    "NFC": 3,
    "NFKD": 18,
    "NFKC": 18,
    "BertNormalizer": 4,
    "Lowercase": 3,
    "ByteLevel": 4,
    "Metaspace": 3,
    "WordPiece": 3,
    "BPEDecoder": 3,
}
# among them rare ones that no vocabulary has: a tokenizer without a token for them must fail now
PROBE = "a B 1 . \u0378 \U000e0fff \u4e2d é"

Result = TypeVar("Result")


def make_tokenizer(text: str, name: str) -> tuple[tokenizers.Tokenizer, int]:
    """The tokenizer of a tokenizer.json, and the rows that a table for its ids needs.

    Args:
        text: the content of the file.
        name: what errors call it.

    Raises:
        DataError: it is none, or one that makes too much of a text, fails at unknown letters or
            answers by chance.
    """
    try:
        whole = parse_json(text, TOKENIZER_BYTES)
        if not isinstance(whole, dict):
            raise ValueError(f"found {brief(whole)}, expected an object")
        problem = _problem(whole)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _none(name, error) from error
    if problem:
        raise DataError(f"{name}: {problem}, expected a usual tokenizer")
    made = guarded(name, lambda: tokenizers.Tokenizer.from_str(text))
    made.no_padding()
    made.no_truncation()
    guarded(name, lambda: made.encode(PROBE))
    ids = [*made.get_vocab(with_added_tokens=True).values(), *_numbers(whole.get("post_processor"))]
    return made, 1 + max(ids, default=-1)


def guarded(name: str, run: Callable[[], Result]) -> Result:
    """What `run` returns; its failure as a DataError: the library raises bare ones, and panics."""
    try:
        return run()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise _none(name, error) from error


def _none(name: str, error: BaseException) -> DataError:
    return DataError(
        f"{name}: found no tokenizer that `tokenizers` {tokenizers.__version__} can read or run "
        f"({error})"
    )


def _problem(whole: Mapping[str, Any]) -> str | None:
    """What is wrong with a tokenizer, if something is."""
    model = whole.get("model")
    if isinstance(model, dict) and model.get("dropout"):
        return f"found dropout {brief(model['dropout'])}, which encodes by chance"
    parts = [whole.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")]
    steps = [step for part in parts for step in _steps(part)]
    steps += _steps(whole.get("post_processor"))
    if len(steps) > MOST_STEPS:
        return f"found {len(steps)} steps"
    for part in ([*_steps(parts[0]), *_steps(parts[1])], _steps(parts[2])):
        growth = math.prod(map(_growth, part))
        if growth > MOST_GROWTH:
            return f"found steps that make up to {growth:,.0f} characters of one"
    for step in steps:
        pieces = step.get("single") or []
        if len(pieces) > MOST_PIECES or sum("Sequence" in piece for piece in pieces) > 1:
            return f"found a template of {len(pieces)} pieces"
    return None


def _steps(part: Any) -> list[Mapping[str, Any]]:
    """The steps of a part in their order, out of the sequences that they stand in."""
    if not isinstance(part, dict):
        return []
    inner = [
        step
        for key in ("normalizers", "pretokenizers", "decoders", "processors")
        for one in part.get(key) or []
        for step in _steps(one)
    ]
    return [part, *inner]


def _growth(step: Mapping[str, Any]) -> float:
    """How many characters a step may make of one."""
    kind = step.get("type")
    if kind == "Replace":
        pattern, content = step["pattern"], len(step["content"])
        return max(content / len(pattern["String"]), 1) if pattern.get("String") else content + 1
    if kind == "Prepend":
        return 1 + len(step["prepend"])
    if kind == "Precompiled":
        return _longest_entry(step["precompiled_charsmap"])
    return GROWTH.get(str(kind), 1)


def _longest_entry(charsmap: str) -> int:
    """Characters of the longest replacement in a map of SentencePiece.

    Source: SentencePiece, normalizer.cc: the size of a trie, the trie, texts that end in zeros.
    """
    try:
        content = base64.b64decode(charsmap, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a map of characters that is none: {error}") from error
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1, *(len(text.decode("utf-8", "replace")) for text in texts))


def _numbers(part: Any) -> Iterator[int]:
    """All integers below a part: the ids that a post-processor adds."""
    if type(part) is int:
        yield part
    elif isinstance(part, dict | list):
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            if key != "type_id":
                yield from _numbers(inner)
