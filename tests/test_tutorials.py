"""The commands of docs/tutorials.md are understood, and the first one prints what the page says."""

import re
import shlex
from pathlib import Path

import pytest

from nnclip.cli import build_parser, main
from nnclip.training.flags import parse_flags

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", [it for it in COMMANDS if not it.startswith("curl ")])
def test_a_command_is_understood(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "python":
        assert words[0] == "train.py" and parse_flags(words[1:]).finetuning
    else:
        args = build_parser([words[0]]).parse_args(words)
        assert (program, args.command) == ("nnclip", words[0])


def test_the_first_answer_is_that_of_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    assert main([*shlex.split(COMMANDS[0])[1:], "--precision", "fp32"]) == 0
    assert f"$ {COMMANDS[0]}\n{capsys.readouterr().out}```" in PAGE


def test_there_are_five() -> None:
    assert len(re.findall(r"^## ", PAGE, re.MULTILINE)) == 5 and len(COMMANDS) > 12
