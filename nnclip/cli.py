"""`nnclip COMMAND`: finds the command, runs it, turns its errors into sentences."""

import argparse
import ast
import importlib
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from nnclip import __version__
from nnclip.errors import NnclipError
from nnclip.extras import missing
from nnclip.files import shown
from nnclip.logs import log_to_stderr

COMMANDS_DIR = Path(__file__).parent / "commands"
# files in it that are none
NO_COMMANDS = ("__init__", "evaluate_tasks", "filters", "options", "training_run")


def command_names() -> list[str]:
    """The names of all commands, in alphabetical order: one file of `nnclip/commands/` each."""
    files = (path.stem for path in COMMANDS_DIR.glob("*.py") if path.stem not in NO_COMMANDS)
    return sorted(name.replace("_", "-") for name in files)


def build_parser(named: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that lists all commands; imports only those of `named`, and knows their flags."""
    parser = argparse.ArgumentParser(prog="nnclip", description="CLIP for NNabla.")
    parser.add_argument("--version", action="version", version=f"nnclip {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is being done")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in command_names():
        if name not in named:
            commands.add_parser(name, help=help_of(name))
            continue
        module = importlib.import_module(f"nnclip.commands.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def help_of(name: str) -> str:
    """What a command does, in a line: its HELP, read without importing it."""
    source = (COMMANDS_DIR / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{name} has no HELP")


def configure_logging() -> None:
    """Log to stderr. Called before NNabla is imported, which else takes the root logger over."""
    log_to_stderr(logging.WARNING)
    for name in (
        "nnclip.sources",
        "nnclip.training.data",
    ):  # what data was taken for is never quiet
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("nnabla").setLevel(logging.WARNING)


def speak_utf8() -> None:
    """Print UTF-8 whatever encoding the terminal says it has: names and texts are of any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 the command says no, 2 an error)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    speak_utf8()
    configure_logging()
    names = command_names()
    named = [word for word in argv if word in names][:1]
    command = " ".join(["nnclip", *named])
    try:
        args = build_parser(named).parse_args(argv)
        if args.verbose:
            logging.getLogger("nnclip").setLevel(logging.INFO)
        return int(args.run(args) or 0)
    except ModuleNotFoundError as error:
        told = missing(error)
        if told is None:
            raise
        print(f"{command}: {told}", file=sys.stderr)
        return 2
    except NnclipError as error:
        print(shown(f"{command}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` closed the pipe: not an error of ours
        sys.stderr.close()
        return 0


def train() -> int:
    """Run `nnclip-train`, which is `train.py` of an installed nnclip; returns the exit status."""
    configure_logging()
    from nnclip.nnabla import require_nnabla

    try:
        require_nnabla("training")
        from nnclip.commands.training_run import main as launch
    except NnclipError as error:
        print(f"nnclip-train: {error}", file=sys.stderr)
        return 2
    return launch()
