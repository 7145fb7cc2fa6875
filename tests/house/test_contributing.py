"""The checklists of CONTRIBUTING.md hold: their code runs, their files and tables are there."""

import ast
import asyncio
import dataclasses
import importlib
import json
import re
import sys
import types
from pathlib import Path

import httpx
import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

import nnclip
import nnclip.commands
from nnclip import cli
from nnclip.convert.source import DIALECTS
from nnclip.engine import backward, compile_graph, compile_step, ops, unsupported_ops
from nnclip.engine.compiled_step import CompiledStep
from nnclip.graph import towers
from nnclip.graph.losses import LOSSES, Loss
from nnclip.serve import app
from nnclip.serve.asking import Desk
from nnclip.serve.collections import Collections
from nnclip.serve.metrics import Metrics
from nnclip.service.model_pool import ModelPool
from nnclip.sources.reader import Reader
from nnclip.sources.readers import READERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```python\n(?:# (nnclip/\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE_UP = ["A tower", "A loss", "A source", "A dialect"]  # each has a whole test of its own
NAMED = sorted(set(re.findall(r"`((?:nnclip|tests|docs|scripts|benchmarks)/[\w/.]+)`", PAGE)))
TABLES = sorted(set(re.findall(r"`(nnclip(?:\.\w+)+\.[A-Z_]+)`", PAGE)))


def code_of(section: str) -> dict[str, str]:
    """File -> the code that a checklist shows for it."""
    return dict(BLOCK.findall(SECTIONS[section]))


def defined_by(code: str) -> dict:
    names: dict = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("path", NAMED)
def test_a_path_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_named_is_there(table: str) -> None:
    module, _, name = table.rpartition(".")
    assert getattr(importlib.import_module(module), name)


def test_every_checklist_names_its_table() -> None:
    assert [name for name in SECTIONS if name not in MADE_UP] == [
        "An operation",
        "A command",
        "An API",
    ]
    tables = {
        "A tower": {"IMAGE_TOWERS", "TEXT_TOWERS"},
        "A loss": {"LOSSES"},
        "A source": {"READERS"},
        "A dialect": {"DIALECTS"},
    }
    for name, wanted in tables.items():
        assert wanted <= set(re.findall(r"`nnclip\.[\w.]+\.([A-Z_]+)`", SECTIONS[name]))
    kinds = (towers.IMAGE_TOWERS, towers.TEXT_TOWERS, LOSSES, READERS, DIALECTS)
    assert all(isinstance(kind, (tuple, dict)) for kind in kinds)


@pytest.mark.parametrize("section", MADE_UP)
def test_the_code_shown_is_part_of_the_test_that_runs_it(section: str) -> None:
    (test,) = set(re.findall(r"`(tests/house/test_made_up_\w+\.py)`", SECTIONS[section]))
    ((_, code),) = BLOCK.findall(SECTIONS[section])
    assert code in (ROOT / test).read_text(encoding="utf-8")


def test_the_loss_and_the_source_that_are_shown_have_every_field() -> None:
    shown = SECTIONS["A loss"]
    assert not [f.name for f in dataclasses.fields(Loss) if f"{f.name}=" not in shown]
    call = ast.parse(BLOCK.findall(SECTIONS["A source"])[0][1]).body[0].value
    assert len(call.args) == len(dataclasses.fields(Reader))


def test_the_table_of_members_has_all_of_a_tower() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("## Add a tower")[2]
    for protocol in (towers.ImageTower, towers.TextTower):
        members = {name for name in vars(protocol) if not name.startswith("_")}
        assert len(members) > 8
        assert not {name for name in members if not re.search(rf"`{name}\b", page)}


def test_the_operation_is_compiled_and_differentiated(monkeypatch: pytest.MonkeyPatch) -> None:
    x = nn.Variable((2, 5), need_grad=True)
    y = F.atan(x)
    assert unsupported_ops([y]) == {"ATan": 1}
    for file, table in (("ops", ops.RULES), ("backward", backward.RULES)):
        code = code_of("An operation")[f"nnclip/engine/{file}/elementwise.py"]
        for name, rule in defined_by(code)["RULES"].items():
            monkeypatch.setitem(table, name, rule)
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    found = compile_graph({"x": x}, {"y": y})(x=values)["y"]
    np.testing.assert_allclose(found, np.arctan(values), rtol=1e-5)
    step = compile_step({}, {"loss": F.sum(y)}, {"x": x})
    assert isinstance(step, CompiledStep)
    x.d = values[:2]
    step()
    np.testing.assert_allclose(x.g, 1 / (1 + values[:2] ** 2), rtol=1e-5)


def test_the_command_is_listed_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    ((path, code),) = code_of("A command").items()
    (tmp_path / Path(path).name).write_text(code, encoding="utf-8")
    monkeypatch.setattr(cli, "COMMANDS_DIR", tmp_path)
    monkeypatch.setattr(nnclip.commands, "__path__", [str(tmp_path)])
    name = Path(path).stem
    monkeypatch.delitem(sys.modules, f"nnclip.commands.{name}", raising=False)
    table = tmp_path / "pairs.csv"
    table.write_text("filepath\ttitle\na.png\ta red square\nb.png\ta blue one\n")
    assert cli.command_names() == [name]
    assert cli.main([name, str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["a red square", "a blue one"]
    assert cli.main([name, str(tmp_path / "none.csv")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_api_answers(monkeypatch: pytest.MonkeyPatch, small_h5: Path) -> None:
    ((path, code),) = code_of("An API").items()
    module = types.ModuleType("plain")
    monkeypatch.setitem(sys.modules, "plain", module)  # where pydantic looks names up
    exec(compile(code, path, "exec"), vars(module))
    monkeypatch.setitem(app.ROUTERS, "plain", module.router)
    desk = Desk(ModelPool([str(small_h5)], "fp32"), Metrics())

    async def ask() -> httpx.Response:
        await desk.load("small")
        served = httpx.ASGITransport(app.build_app(desk, Collections([]), ["plain"]))
        async with httpx.AsyncClient(transport=served, base_url="http://localhost") as client:
            return await client.post("/plain", json={"text": "a dog"})

    answer = asyncio.run(ask())
    assert answer.status_code == 200
    assert np.linalg.norm(answer.json()) == pytest.approx(1, abs=1e-5)


def test_the_version_is_the_first_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(
        r"^## (\d+\.\d+\.\d+) (?:- \d{4}-\d\d-\d\d|\(unreleased\))$", changelog, re.M
    )
    assert versions[0] == nnclip.__version__
    assert versions == sorted(versions, key=lambda v: [*map(int, v.split("."))], reverse=True)
    assert len(versions) == len(re.findall(r"^## (?!Unreleased$)", changelog, re.M))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", PAGE))))
def test_a_target_of_make_that_is_named_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
