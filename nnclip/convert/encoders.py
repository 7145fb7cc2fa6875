"""Opens checkpoints of text encoders, however their parts are laid out.

Three layouts become one Source with the names that `nnclip.convert.bert` knows: a folder of
transformers, whose tensors may stand below `roberta.` or the like; a folder of
sentence-transformers, where modules.json names folders for the encoder, its pooling and a
projection; and a folder of M-CLIP, whose encoder stands below `transformer.` and whose projection
is called LinearTransformation.
"""

import dataclasses
from pathlib import Path
from typing import Any

from nnclip.convert import bert
from nnclip.convert.dialect import Settings, Source, read_settings, read_tokenizer
from nnclip.convert.source import open_source
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.json_text import brief, read_json

WORDS = "embeddings.word_embeddings.weight"  # a tensor of every encoder
MODULES, LENGTH = "modules.json", "sentence_bert_config.json"
PROMPTS, TOKENS = "config_sentence_transformers.json", "tokenizer_config.json"
POOLINGS = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean"}
MODES = {"cls": "first", "mean": "mean"}  # the same since sentence-transformers 5
NO_LENGTH = 1 << 31  # transformers writes 1e30 where a tokenizer has none
OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}  # of norms, before there was a transformers


def open_checkpoint(
    path: Path, config: Path | None = None, key: str | None = None, prefix: str | None = None
) -> Source:
    """What `path` holds, as `open_source` does it; encoders of texts with all their parts.

    Args:
        path: a file, an index of several, or a folder.
        config: as `open_source` takes it.
        key: as `open_source` takes it.
        prefix: as `open_source` takes it.

    Raises:
        CheckpointError: no such file, damaged, or a part is missing or cannot be computed.
    """
    if (path / MODULES).is_file():
        return _sentence_transformers(path)
    source = open_source(path, config, key, prefix)
    return _encoder(source) if _is_encoder(source) else source


def _is_encoder(source: Source) -> bool:
    """Whether there are words and no image tower beside them."""
    beside = ("visual.", "vision_model.")
    return any(name.endswith(WORDS) for name in source.tensors) and not any(
        name.startswith(beside) for name in source.tensors
    )


def _encoder(source: Source) -> Source:
    """Without what stands before the names; of M-CLIP with its projection."""
    prefix = next(name for name in source.tensors if name.endswith(WORDS)).removesuffix(WORDS)
    tensors = {_plain(name.removeprefix(prefix)): t for name, t in source.tensors.items()}
    settings = dict(source.settings)
    if "modelBase" in settings.get(bert.FILE, {}):
        tensors = {k.replace("LinearTransformation.", "projection."): t for k, t in tensors.items()}
        settings[bert.FILE] = _base_of_m_clip(settings[bert.FILE], tensors)
        settings[bert.POOLING] = {"pooling": "mean"}
    if bert.FILE in settings:
        bert.kind_of(settings[bert.FILE])
    folder = source.files[0].parent
    return dataclasses.replace(
        source, tensors=tensors, settings=settings, tokenizer=_tokenizer(folder)
    )


def _plain(name: str) -> str:
    for old, new in OLD_NAMES.items():
        if name.endswith("LayerNorm" + old):
            return name.removesuffix(old) + new
    return name


def _tokenizer(folder: Path) -> str | None:
    path = folder / bert.TOKENIZER
    return read_tokenizer(path) if path.is_file() else None


def _base_of_m_clip(told: Settings, tensors: dict[str, Tensor]) -> Settings:
    """What config.json would say of the encoder that M-CLIP's own names only."""
    found = tensors.get("projection.weight")
    shape = () if found is None else found.shape
    if len(shape) != 2 or told.get("numDims", shape[0]) != shape[0]:
        raise CheckpointError(
            f"tensor LinearTransformation.weight: found {shape or 'none'}, expected "
            f"{told.get('numDims', 'some')} rows, as {bert.FILE} says"
        )
    base, width = brief(told["modelBase"]), shape[1]
    common = {"num_attention_heads": width // 64, "n_heads": width // 64}
    if "roberta" in base.lower():
        return {"model_type": "xlm-roberta", "layer_norm_eps": 1e-5, **common}
    return {"model_type": "distilbert" if "distil" in base.lower() else "bert", **common}


def _sentence_transformers(path: Path) -> Source:
    """The encoder with what the modules after it do."""
    told: dict[str, Any] = {"pooling": None}
    source, dense, normalised = None, None, False
    modules = _modules(path)
    _check_prompt(path)
    computed = [module for module in modules if module[0] != "Normalize"]
    if [kind for kind, _ in computed] == ["CLIPModel"]:
        return dataclasses.replace(open_source(computed[0][1]), path=path)
    for kind, folder in modules:
        if kind == "Transformer":
            source = _encoder(open_source(folder))
            told["max_seq_length"] = _length(folder)
        elif kind == "Pooling":
            told["pooling"] = _pooling(folder / "config.json")
        elif kind == "Dense" and normalised:
            raise CheckpointError(
                f"{path / MODULES}: found Normalize before Dense, expected it after: nnclip "
                "normalises the features of the whole tower alone"
            )
        elif kind == "Dense" and dense is None:
            dense = _dense(folder)
        elif kind == "Normalize":  # features are not normalised, embeddings are
            normalised = True
        else:
            raise CheckpointError(
                f"{path / MODULES}: found the module {kind}, expected Transformer, Pooling, Dense "
                "and Normalize"
            )
    if source is None or told["pooling"] is None:
        raise CheckpointError(f"{path / MODULES}: found no Transformer with its Pooling in it")
    projection = {} if dense is None else {f"projection.{k}": t for k, t in dense.tensors.items()}
    return dataclasses.replace(
        source,
        path=path,
        kind="sentence-transformers folder",
        files=source.files + (() if dense is None else dense.files),
        tensors=source.tensors | projection,
        settings={**source.settings, bert.POOLING: told},
        tokenizer=source.tokenizer or _tokenizer(path),
    )


def _length(folder: Path) -> int | None:
    """Tokens of the longest text; None if nothing says it."""
    told = read_settings(folder / LENGTH) if (folder / LENGTH).is_file() else {}
    if told.get("do_lower_case"):
        raise CheckpointError(
            f"{folder / LENGTH}: found do_lower_case, which is not computed; put a Lowercase "
            f"normalizer into {bert.TOKENIZER} and set it to false"
        )
    if told.get("max_seq_length") is not None or not (folder / TOKENS).is_file():
        return told.get("max_seq_length")
    length = read_settings(folder / TOKENS).get("model_max_length")
    return length if isinstance(length, int) and length < NO_LENGTH else None


def _check_prompt(path: Path) -> None:
    """CheckpointError if a prompt is put before every text."""
    told = read_settings(path / PROMPTS) if (path / PROMPTS).is_file() else {}
    name, prompts = told.get("default_prompt_name"), told.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if prompt:
        raise CheckpointError(
            f"{path / PROMPTS}: found the default prompt {brief(prompt)}, which is not computed; "
            "set default_prompt_name to null, and put the prompt before texts yourself"
        )


def _modules(path: Path) -> list[tuple[str, Path]]:
    """The last word of each module's type, and its folder."""
    try:
        listed = read_json(path / MODULES)
        found = [(one["type"].split(".")[-1], path / one["path"]) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / MODULES}: found no list of modules ({error})") from error
    for _, folder in found:
        if not folder.resolve().is_relative_to(path.resolve()):
            raise CheckpointError(f"{path / MODULES}: names {folder}, which is outside {path}")
    return found


def _pooling(file: Path) -> str:
    told = read_settings(file)
    if "pooling_mode" in told:
        mode = told["pooling_mode"]
        if not isinstance(mode, str) or mode not in MODES:
            raise CheckpointError(
                f"{file}: found the pooling_mode {brief(mode)}, expected one of {', '.join(MODES)}"
            )
        return MODES[mode]
    modes = {k for k, v in told.items() if k.startswith("pooling_mode") and v}
    if len(modes) != 1 or not modes <= POOLINGS.keys():
        raise CheckpointError(
            f"{file}: found {', '.join(sorted(modes)) or 'no pooling'}, expected one of "
            f"{', '.join(POOLINGS)}"
        )
    return POOLINGS[modes.pop()]


def _dense(folder: Path) -> Source:
    """A module's linear map: `weight`, and `bias` if it has one."""
    activation = str(read_settings(folder / "config.json").get("activation_function", "Identity"))
    if not activation.endswith("Identity"):
        raise CheckpointError(
            f"{folder / 'config.json'}: found the activation {activation}, expected Identity"
        )
    source = open_source(folder)
    tensors = {name.removeprefix("linear."): t for name, t in source.tensors.items()}
    return dataclasses.replace(source, tensors=tensors)
