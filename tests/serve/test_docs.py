"""The pages of docs/serve*.md: their programs run, their flags exist."""

import re
import shlex
from pathlib import Path

import pytest

from nnclip.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("serve*.md"))
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.partition("nnclip serve")[2].split(" #")[0].strip("`.;, ")
    for line in TEXT.splitlines()
    if re.match(r" +nnclip serve|ExecStart=", line)
]


def test_the_programs_for_openai_s_package_run(start, monkeypatch):
    monkeypatch.chdir(ROOT)
    server = start()
    scope = {}
    for program in PROGRAMS:
        exec(program.replace("http://127.0.0.1:8890", server.url), scope)
        assert scope["answer"].data
    scope["client"].close()
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_know_their_flags(command):
    args = build_parser(["serve"]).parse_args(["serve", *shlex.split(command)])
    assert args.port == 8890


def test_the_links_lead_somewhere():
    for name in re.findall(r"\]\(([\w.-]+\.md)\)", TEXT):
        assert (ROOT / "docs" / name).exists()
