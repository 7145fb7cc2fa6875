"""What is tried on checkpoints of others: how they are made, damaged and read."""

import json
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from nnclip.convert.h5_to_torch import convert_h5
from nnclip.convert.source import DIALECTS
from nnclip.convert.torch_to_h5 import convert_file
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
from nnclip.graph.parameters import make_parameters
from nnclip.image import Preprocess
from nnclip.text import ForeignTokenizer
from nnclip.weights.model import ModelWeights, load_model, save_model
from tests.fuzz.driver import Subject
from tests.fuzz.model_files import digest
from tests.fuzz.mutations import damage_bytes, damage_file, damage_json, damage_json_file

SMALL = ClipConfig(  # with the vocabulary that such files must have
    embed=8,
    image=VitConfig(Preprocess(16), patch=8, blocks=BlockConfig(16, 1, 1, 64)),
    text=TextConfig(vocabulary=49408, context=5, blocks=BlockConfig(8, 2, 1, 32)),
)
OPCODES = [getattr(pickle, name)[0] for name in pickle.__all__ if name.isupper() and name[0] != "_"
           and isinstance(getattr(pickle, name), bytes)]  # fmt: skip


def write_as(path: Path, dialect: str) -> None:
    """A small model, through an .h5 of nnclip's."""
    h5 = path.with_suffix(".h5")
    save_model(h5, ModelWeights(SMALL, make_parameters(SMALL, seed=1), {}))
    convert_h5(h5, path, DIALECTS[dialect])
    h5.unlink()


def read_as(path: Path, dialect: str = "auto") -> str:
    """What `clip.load` gets of a checkpoint after conversion."""
    made = path.parent / "made.h5"
    convert_file(path, made, dialect=dialect)
    model = load_model(made)
    return digest({k: v.d for k, v in model.variables().items()}, model.config)


def write_legacy(folder: Path) -> None:
    import torch

    write_as(folder / "model.pt", "openai")
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=False)


def damage_zip(folder: Path, random: Random) -> str:
    """Damage the file, or one of its entries with a check sum that fits."""
    path = folder / "model.pt"
    if random.random() < 0.3:
        return damage_file(path, random)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = random.choice(list(entries))
    if random.random() < 0.7:
        name = next(n for n in entries if n.endswith("data.pkl"))
    if not name.endswith("data.pkl") or random.random() < 0.5:
        entries[name], how = damage_bytes(entries[name] or b"?", random)
    else:
        entries[name], how = damage_pickle(entries[name], random)
    kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", kind) as archive:
        for other, content in entries.items():
            archive.writestr(other, content)
    return f"{name}: {how}"


def damage_pickle(content: bytes, random: Random) -> tuple[bytes, str]:
    """Put operations that a pickle may have where it has none."""
    at = random.randrange(2, len(content))
    soup = bytes(random.choice(OPCODES) for _ in range(random.randrange(1, 6)))
    if random.random() < 0.2:
        soup = random.choice((
            b")" + b"\x85" * 100_000 + b"}" + b"h\x00K\x01s",  # deep tuples
            b"N" + b"2\x86" * 64,  # pairs of themselves: twice as large each time
            b"]" + b"2\x85R" * 64,
            b"\x96" + (1 << 40).to_bytes(8, "little"),  # bytes to be filled later
            b"\x8e" + (1 << 40).to_bytes(8, "little"),
            b"\x95" + (1 << 40).to_bytes(8, "little"),
            b"r" + (1 << 31).to_bytes(4, "little"),  # a memo of 2 billion places
            b"Vword\n" * 3 + b"Q",
        ))  # fmt: skip
    return content[:at] + soup + content[at + random.randrange(3) :], f"operations at {at}"


def damage_legacy(folder: Path, random: Random) -> str:
    if random.random() < 0.6:
        return damage_file(folder / "model.pt", random)
    content = (folder / "model.pt").read_bytes()
    head = random.randrange(200, 4000)
    damaged, how = damage_pickle(content[:head], random)
    (folder / "model.pt").write_bytes(damaged + content[head:])
    return how


def damage_safetensors(folder: Path, random: Random) -> str:
    """Damage the file, or its header with a length that fits."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    if random.random() < 0.4:
        return damage_file(path, random)
    end = 8 + int.from_bytes(content[:8], "little")
    header, how = damage_json(content[8:end], random)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    return f"header: {how}"


def write_tokenizers(folder: Path) -> None:
    """WordPiece as BERT's, byte-level BPE with an expression, Unigram as XLM-R's."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij", "##a", "##b"]
    words = tokenizers.Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(specials)}, unk_token="[UNK]")
    )
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = tokenizers.Tokenizer(
        models.BPE({letter: i for i, letter in enumerate([*letters, "ab"])}, [("a", "b")])
    )
    pairs.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "_")])
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"\p{L}+|\p{N}| ?[^\s\p{L}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = tokenizers.Tokenizer(
        models.Unigram([("<unk>", 0.0), ("▁", -1.0), *((c, -2.0) for c in "abcdefg")], 0)
    )
    pieces.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("▁")])
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.add_special_tokens(["<s>", "</s>"])
    for name, made in (("words", words), ("pairs", pairs), ("pieces", pieces)):
        made.save(str(folder / f"{name}.json"))


def _step(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, **options}


def _replacing(content: str, **pattern: str) -> dict[str, Any]:
    return _step("Replace", pattern=pattern, content=content)


ODD_STEPS: dict[str, Any] = {
    "doubling": _step("Sequence", normalizers=[_replacing("aa", String="a")] * 34),
    "doubling nothing": _step("Sequence", normalizers=[_replacing("ab", String="")] * 34),
    "doubling by an expression": _step("Sequence", normalizers=[_replacing("aa", Regex="a")] * 34),
    "lengthening": _step("Prepend", prepend="a" * 100_000),
    "a damaged map": _step("Precompiled", precompiled_charsmap="AAAA"),
    "no map": _step("Precompiled", precompiled_charsmap="?"),
    "bytes of bytes": _step("Sequence", normalizers=[_step("ByteLevel")] * 34),
    "a harmless one": _step("Sequence", normalizers=[_step("NFC"), _step("Lowercase")]),
}
EXPRESSIONS = (
    "(a+)+$",
    "(a|a)+$",
    "((a{1,100}){1,100}){1,100}",
    "(",
    "a**",
    "(?<!a+)b",
    "^((a )+.)+b$",
)


def damage_tokenizer(folder: Path, random: Random) -> str:
    path = random.choice(sorted(folder.glob("*.json")))
    if random.random() < 0.5:
        return damage_json_file(path, random)
    tree = json.loads(path.read_text(encoding="utf-8"))
    how = random.choice(("step", "expression", "id", "unknown", "dropout", "template", "added"))
    if how == "step":
        how = random.choice(list(ODD_STEPS))
        tree["normalizer"] = ODD_STEPS[how]
    elif how == "expression":
        pattern = {"Regex": random.choice(EXPRESSIONS)}
        tree["pre_tokenizer"] = _step("Split", pattern=pattern, behavior="Isolated", invert=False)
    elif how == "id" and isinstance(tree["model"]["vocab"], dict):
        tree["model"]["vocab"]["a"] = random.choice(
            (5, 1000, (1 << 31) - 1, (1 << 32) - 1, 1 << 33)
        )
    elif how == "dropout":
        tree["model"]["dropout"] = random.choice((0.5, 0, 1.0, -1))
    elif how == "template" and tree["post_processor"]:
        pieces = tree["post_processor"].get("single", [])
        tree["post_processor"]["single"] = pieces * random.choice((2, 100))
    elif how == "added":
        added = {
            "id": random.choice((0, 3, 99, 1 << 30)),
            "content": random.choice(("a", "", "zz")),
        }
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        tree["added_tokens"].append({**flags, **added})
    else:
        how, tree["model"]["unk_token"] = "unknown", "[NONE]"
    path.write_text(json.dumps(tree), encoding="utf-8")
    return f"{path.name}: {how}"


def read_tokenizers(folder: Path) -> list[list[int]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        made = ForeignTokenizer(path.read_bytes().decode("utf-8", "replace"), 0, path.name)
        assert made.vocab_size > 0
        ids = made(["abc de", "ab 12 é 中"], 64, truncate=True)
        assert ids.max() < made.vocab_size
        made.decode(ids[0])
        found += ids.tolist()
    return found


def read_folder(folder: Path) -> str:
    return read_as(folder / "model.safetensors")


TORCH = Subject(
    lambda folder: write_as(folder / "model.pt", "openai"),
    damage_zip,
    lambda folder: read_as(folder / "model.pt", "openai"),
)
LEGACY_TORCH = Subject(
    write_legacy, damage_legacy, lambda folder: read_as(folder / "model.pt", "openai")
)
SAFETENSORS = Subject(
    lambda folder: write_as(folder / "model.safetensors", "huggingface"),
    damage_safetensors,
    read_folder,
)
CONFIG = Subject(
    lambda folder: write_as(folder / "model.safetensors", "huggingface"),
    lambda folder, random: damage_json_file(random.choice(sorted(folder.glob("*.json"))), random),
    read_folder,
)
OPEN_CLIP_CONFIG = Subject(
    lambda folder: write_as(folder / "model.safetensors", "open_clip"),
    lambda folder, random: damage_json_file(folder / "open_clip_config.json", random),
    read_folder,
)
TOKENIZER = Subject(write_tokenizers, damage_tokenizer, read_tokenizers)
