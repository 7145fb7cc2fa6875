"""`python -m nnclip COMMAND`: finds the command, runs it, turns its errors into sentences."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from nnclip.errors import NnclipError

COMMANDS_DIR = Path(__file__).parent / "commands"
NO_COMMANDS = ("__init__", "options")  # files in it that are none


def command_names() -> list[str]:
    """The names of all commands, in alphabetical order: one file of `nnclip/commands/` each."""
    files = (path.stem for path in COMMANDS_DIR.glob("*.py") if path.stem not in NO_COMMANDS)
    return sorted(name.replace("_", "-") for name in files)


def build_parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows the commands `names`; imports only those."""
    parser = argparse.ArgumentParser(prog="nnclip", description="CLIP for NNabla.")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is being done")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f"nnclip.commands.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def configure_logging() -> None:
    """Log to stderr. Called before NNabla is imported, which else takes the root logger over."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("nnabla").setLevel(logging.WARNING)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 the command says no, 2 an error)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    configure_logging()
    names = command_names()
    named = [word for word in argv if word in names][:1]
    args = build_parser(named or names).parse_args(argv)
    if args.verbose:
        logging.getLogger("nnclip").setLevel(logging.INFO)
    try:
        return int(args.run(args) or 0)
    except NnclipError as error:
        print(f"nnclip {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` closed the pipe: not an error of ours
        sys.stderr.close()
        return 0
