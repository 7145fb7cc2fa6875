"""The commands and flags of docs/systems.md and docs/heads.md exist."""

import argparse
import functools
import re
import shlex
from pathlib import Path

import pytest

from nnclip.cli import build_parser, command_names
from nnclip.convert.torch_to_h5 import parser as converter
from nnclip.training.flags import make_parser, read_settings

DOCS = Path(__file__).parents[1] / "docs"
PAGE = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("systems.md", "heads.md"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
SCRIPTS = {"train.py": make_parser, "torch_to_h5.py": converter}
STARTS = ("python ", "nnclip ", "mpirun ", *(f"{name} " for name in (*SCRIPTS, *command_names())))
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]
SPANS = [span for span in re.findall(r"`([^`]+)`", PROSE) if span.startswith(STARTS)]


@functools.cache
def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a script, or of one of nnclip's commands."""
    if name in SCRIPTS:
        return SCRIPTS[name]()
    (choices,) = (
        action
        for action in build_parser([name])._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return choices.choices[name]


def words_of(command: str) -> tuple[str, list[str]]:
    """The name of what is called, and what it is given."""
    words = shlex.split(command)
    if words[0] == "mpirun":
        words = words[words.index("python") :]
    if words[:3] == ["python", "-m", "nnclip"]:
        words = words[3:]
    elif words[0] in ("python", "nnclip"):
        words = words[1:]
    return words[0].split("/")[-1], words[1:]


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_whole_command_is_understood(command: str) -> None:
    name, words = words_of(command)
    parsed = parser_of(name).parse_args(words)  # ends the process where it does not understand
    assert parsed is not None


@pytest.mark.parametrize("span", SPANS)
def test_a_mentioned_command_knows_its_flags(span: str) -> None:
    name, words = words_of(span)
    parser = parser_of(name)
    if name == "evaluate":
        (tasks,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = tasks.choices[words.pop(0)]
    asked = {word for word in words if re.match(r"--?[a-z]", word)}
    assert asked <= flags_of(parser)


def test_the_settings_are_known(tmp_path: Path) -> None:
    (content,) = (block for language, block in BLOCKS if language == "yaml")
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    settings = read_settings(path)
    assert (settings["lr"], settings["model"], settings["aggregate"]) == (5e-4, "RN50-coco", True)


def test_the_page_is_not_empty() -> None:
    assert len(COMMANDS) > 20 and len(SPANS) > 40


@pytest.mark.parametrize(
    ("command", "missing"),
    [("nnclip search x --nearest 5", "--nearest"), ("python train.py --gpu 1", "--gpu")],
)
def test_a_flag_that_does_not_exist_would_be_seen(
    command: str, missing: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        test_a_whole_command_is_understood(command)
    assert missing in capsys.readouterr().err
