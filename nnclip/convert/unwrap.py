"""Takes the tensors of a model out of what trainers put around them: keys above, prefixes before.

torch.save of a trainer holds the model below `state_dict` or another key, beside optimisers and
moving averages; DistributedDataParallel, FSDP, torch.compile and Lightning put words before names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.json_text import brief

# The first that is there holds the model; moving averages come last.
KEYS = (
    *("state_dict", "model_state_dict", "model", "module"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
LEADING = ("module.", "model.")  # before all names
INSIDE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
COUNTED = "n_averaged"  # of torch's AveragedModel
DEEPEST = 3  # keys one below the other


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of a model.

    Attributes:
        tensors: by name, without prefixes.
        wrapped: whether there was anything around them.
        notes: what was taken, removed and left out, where more than open_clip's own trainer does.
    """

    tensors: dict[str, Tensor]
    wrapped: bool = False
    notes: tuple[str, ...] = ()


def unwrap(file: Path, tree: Any, key: str | None = None, prefix: str | None = None) -> Unwrapped:
    """The tensors in what a file holds.

    Args:
        file: for errors.
        tree: dictionaries with Tensors in them.
        key: the entry that holds the model; None for the first of KEYS.
        prefix: what stands before the names of the model, of which all others are left out; None
            for what trainers are known to put before all names.

    Raises:
        CheckpointError: no named tensors, or none below the key or behind the prefix.
    """
    taken, notes = _below(file, tree, key)
    tensors = _checked(file, taken)
    wrapped = taken is not tree
    if COUNTED in tensors:
        del tensors[COUNTED]
        notes.append(f"left out  {COUNTED}, the number of models in this average")
    if prefix:
        tensors, left = _behind(file, tensors, prefix)
        if left:
            notes.append(f"left out  {left} tensors that do not begin with {prefix}")
        wrapped = True
    plain, removed = without_prefixes(tensors)
    if removed and removed != ["module."]:
        notes.append(f"removed   {', '.join(removed)} from the names")
    return Unwrapped(plain, wrapped or bool(removed), tuple(notes))


def _below(file: Path, tree: Any, key: str | None) -> tuple[Any, list[str]]:
    """The dictionary that holds the model, and what to say of it."""
    if key is not None:
        entries = tree if isinstance(tree, Mapping) else {}
        found = entries.get(key)
        if not isinstance(found, Mapping):
            keys = [k for k, v in entries.items() if isinstance(v, Mapping)]
            raise CheckpointError(
                f"{file}: --key {key}: found {', '.join(map(brief, keys)) or 'no keys'}, expected "
                "one of a dictionary of tensors"
            )
        return found, [f"took      {key}, as --key says"]
    notes: list[str] = []
    for _ in range(DEEPEST):
        keys = [k for k in KEYS if isinstance(tree, Mapping) and isinstance(tree.get(k), Mapping)]
        if not keys:
            break
        if keys != ["state_dict"]:
            beside = f"; beside it {', '.join(keys[1:])}, which --key takes" if keys[1:] else ""
            notes.append(f"took      {keys[0]}{beside}")
        tree = tree[keys[0]]
    return tree, notes


def _checked(file: Path, taken: Any) -> dict[str, Tensor]:
    tensors = dict(taken) if isinstance(taken, Mapping) else {}
    odd = [k for k, t in tensors.items() if not (isinstance(k, str) and isinstance(t, Tensor))]
    if odd or not tensors:
        what = (
            f"the entries {', '.join(map(brief, odd[:5]))}" if odd else f"a {type(taken).__name__}"
        )
        raise CheckpointError(
            f"{file}: found {what}, expected a dictionary of named tensors, or one under the key "
            f"{', '.join(KEYS[:-1])} or {KEYS[-1]}; --key names another"
        )
    return tensors


def _behind(file: Path, tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], int]:
    found = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    if not found:
        first = sorted({name.split(".")[0] + "." for name in tensors})
        raise CheckpointError(
            f"{file}: --prefix {prefix}: found names that begin with {', '.join(first[:5])}, "
            "expected one of those"
        )
    return found, len(tensors) - len(found)


def without_prefixes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without what trainers put into their names, and what that was.

    Raises:
        CheckpointError: two tensors have one name without it.
    """
    removed = list(dict.fromkeys(word for name in tensors for word in INSIDE.findall(name)))
    plain = {INSIDE.sub("", name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise CheckpointError(
            f"found names that differ only in {', '.join(removed)}, expected one tensor a name"
        )
    while lead := next((p for p in LEADING if all(k.startswith(p) for k in plain)), None):
        plain = {name.removeprefix(lead): tensor for name, tensor in plain.items()}
        removed.append(lead)
    return plain, removed
