"""Write docs/reference: every command's --help, and what Python programs call.

    .venv/bin/python -m scripts.write_reference

The signature is the source's own; shapes and errors are those of the docstrings. A test writes the
pages once more and compares.
"""

import argparse
import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
BY = "`scripts/write_reference.py` writes this page."
WIDTH = 90
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Source|Yields):[ ]?(.*)$")
LISTS = ("Args", "Attributes", "Raises")
# title -> module, and those of its names that are told; None for its __all__
MODULES: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "Models": ("nnclip.clip", None),
    "Known models": ("nnclip.weights.known", ("KnownModel",)),
    "Losses": ("nnclip.graph.losses", ("Loss", "Scorer")),
    "Errors": (
        "nnclip.errors",
        (
            "NnclipError", "ConfigError", "CheckpointError", "DataError", "TextTooLongError",
            "UnsupportedOpError", "DownloadError",
        ),
    ),
    "Images": (
        "nnclip.image",
        ("Preprocess", "Decoding", "open_image", "image_files", "seen_size"),
    ),
    "Texts": (
        "nnclip.text",
        ("Tokenizer", "ForeignTokenizer", "openai_tokenizer", "load_tokenizer", "train_tokenizer"),
    ),
    "Search": ("nnclip.search.image_search", ("ImageSearch",)),
    "Queries": ("nnclip.search.query", ("Query", "Term", "read_query")),
    "Hits": ("nnclip.search.hits", ("Answer", "Hit")),
    "Compiler": ("nnclip.engine", None),
    "Export": ("nnclip.export", None),
    "Embeddings": ("nnclip.embeddings", ("unit", "softmax")),
    "Metrics": (
        "nnclip.evaluate.metrics",
        (
            "label_ranks", "top_k_accuracy", "confusion_matrix", "per_class_recall",
            "per_class_precision", "mean_per_class_recall", "expected_calibration_error",
            "reliability_bins", "rank_summary",
        ),
    ),
}  # fmt: skip


def pages() -> dict[str, str]:
    """File name -> its content."""
    return {"commands.md": commands_page(), "python.md": python_page()}


def commands_page() -> str:
    """Every command's `--help`."""
    from nnclip.cli import build_parser, command_names
    from nnclip.convert import h5_to_torch
    from nnclip.training.flags import make_parser

    parsers: dict[str, argparse.ArgumentParser] = {}
    for name in command_names():
        parsers |= with_tasks(f"nnclip {name}", choices_of(build_parser([name]))[name])
    parsers["python train.py"] = make_parser()
    parsers["python convert/h5_to_torch.py"] = h5_to_torch.parser()
    parts = ["# Commands", f"What `--help` prints. {BY}"]
    for name, parser in parsers.items():
        parser.prog = name
        parser.formatter_class = partial(parser.formatter_class, width=WIDTH)  # type: ignore[assignment]
        parts += [f"## {name}", f"```text\n{parser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def choices_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands."""
    found = [it for it in parser._actions if isinstance(it, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def with_tasks(name: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A command's parser, and those of its tasks."""
    return {name: parser} | {f"{name} {task}": it for task, it in choices_of(parser).items()}


def python_page() -> str:
    """What programs call, module by module."""
    parts = ["# Python", f"Signatures, shapes and errors. {BY}"]
    told = set()
    for title, (module, names) in MODULES.items():
        found = importlib.import_module(module)
        parts += [f"## {title}", f"`from {module} import ...`"]
        for name in names or found.__all__:
            thing = getattr(found, name)
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing not in told:
                told.add(thing)
                parts += described(name, thing)
    return "\n\n".join(parts) + "\n"


def described(name: str, thing: Any) -> Iterator[str]:
    """A function, or a class with its own methods and those of its bases in nnclip."""
    yield f"### {name}"
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    if isinstance(tree, ast.FunctionDef):
        yield signature(name, tree)
        yield from prose(thing)
        return
    bases = [it for it in thing.__mro__ if it.__module__.startswith("nnclip")]
    trees = [ast.parse(textwrap.dedent(inspect.getsource(it))).body[0] for it in bases]
    methods: dict[str, tuple[ast.FunctionDef, Any]] = {}
    for base, one in zip(bases, trees, strict=True):
        for node in getattr(one, "body", ()):
            if isinstance(node, ast.FunctionDef):
                methods.setdefault(node.name, (node, vars(base)[node.name]))
    if "__init__" in methods:
        yield signature(name, methods["__init__"][0])
    elif fields := [ast.unparse(it) for it in getattr(tree, "body", ()) if _is_field(it)]:
        yield code_block(call(name, fields))
    yield from prose(thing)
    if "__init__" in methods and methods["__init__"][1].__doc__:
        yield from prose(methods["__init__"][1])
    for method, (node, value) in methods.items():
        if method in ("__call__", "__len__") or not method.startswith("_"):
            yield f"#### {name}.{method}"
            yield signature(f"{name}.{method}", node)
            yield from prose(getattr(value, "__func__", getattr(value, "fget", None) or value))


def _is_field(node: ast.stmt) -> bool:
    """Whether a statement of a dataclass is a field that its maker takes."""
    return (
        isinstance(node, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(node.annotation)
        and not ast.unparse(node.target).startswith("_")
    )


def signature(name: str, node: ast.FunctionDef) -> str:
    """A call as the source declares it, without `self`; a property without brackets."""
    decorators = [ast.unparse(it) for it in node.decorator_list]
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if "property" in decorators:
        return code_block(f"{name}{returned}")
    words = list(_arguments(node.args))
    if words and words[0] in ("self", "cls"):
        words = words[1:]
    ends = "" if node.name == "__init__" else returned
    return code_block(call(name, words) + ends)


def _arguments(args: ast.arguments) -> Iterator[str]:
    """Each argument as the source writes it, with the stars between them."""
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    for number, (arg, default) in enumerate(zip(plain, defaults, strict=True)):
        yield _argument(arg, default)
        if args.posonlyargs and number == len(args.posonlyargs) - 1:
            yield "/"
    if args.vararg:
        yield f"*{ast.unparse(args.vararg)}"
    elif args.kwonlyargs:
        yield "*"
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _argument(arg, default)
    if args.kwarg:
        yield f"**{ast.unparse(args.kwarg)}"


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(arg)
    equals = " = " if arg.annotation else "="
    return f"{ast.unparse(arg)}{equals}{ast.unparse(default)}"


def call(name: str, words: list[str]) -> str:
    """NAME(WORD, ...), on one line where there is room."""
    line = f"{name}({', '.join(words)})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), ")"])


def code_block(code: str) -> str:
    """Python, fenced."""
    return f"```python\n{code}\n```"


def prose(thing: Callable[..., Any] | type) -> Iterator[str]:
    """A docstring as Markdown, paragraph by paragraph."""
    blocks = (inspect.cleandoc(thing.__doc__ or "") + "\n").split("\n\n")
    for block in blocks:
        head = SECTION.match(block.split("\n")[0])
        if not head:
            written = block.startswith(("    ", ">>>"))
            yield code_block(textwrap.dedent(block).rstrip()) if written else block.rstrip()
            continue
        name, rest = head.groups()
        body = textwrap.dedent("\n".join(block.split("\n")[1:])).strip("\n")
        if name in LISTS and body:
            yield f"**{name}**\n\n{items(body)}"
        else:
            yield f"**{name}** {' '.join([rest, *body.split()]).strip()}"


def items(body: str, indent: str = "") -> str:
    """`name: text` entries as a list; what stands under an entry without text is a list in it."""
    lines = []
    for entry in re.split(r"\n(?=\S)", body):
        first, *more = entry.split("\n")
        name, _, text = first.partition(":")
        name, kind = (name.partition(" ")[::2]) if "(" in name else (name, "")
        if not text.strip() and more:
            inner = items(textwrap.dedent("\n".join(more)), indent + "  ")
            lines.append(f"{indent}- `{name}`:\n{inner}")
        else:
            words = " ".join([text.strip(), *(line.strip() for line in more)])
            lines.append(f"{indent}- `{name}`{kind and ' ' + kind}: {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in pages().items():
        (FOLDER / file).write_text(content, encoding="utf-8")
        print(FOLDER / file)
