"""What can be loaded by a name, and what of it is on this machine."""

import json
from pathlib import Path

import pytest

from nnclip import clip
from nnclip.cli import main
from nnclip.weights.catalogue import Source, sources
from nnclip.weights.h5 import open_h5
from nnclip.weights.kept import folder_of, note
from nnclip.weights.model import load_model, save_model
from nnclip.weights.published import open_clip_table


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(source: Source, cache: Path, h5: Path, name: str = "0123456789abcdef.h5", **told) -> Path:
    """A fetched and converted repository."""
    path = folder_of(source, cache) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, load_model(h5), extra=told)
    note(source, path)
    return path


def test_all_names_have_their_facts(cache: Path) -> None:
    found = {model.name: model for model in clip.available_models()}
    assert len(found) == 1 + 9 + sum(map(len, open_clip_table().values())) == 179
    bundled = found["bundled"]
    assert (bundled.resolution, bundled.context, bundled.licence) == (64, 32, "apache-2.0")
    assert "ja" in bundled.languages.split()
    large, same = found["ViT-L/14@336px"], found["ViT-L-14-336:openai"]
    assert (large.parameters, large.resolution) == (same.parameters, 336) == (427.9, 336)
    siglip = found["ViT-B-16-SigLIP2:webli"]
    assert (siglip.context, siglip.languages, siglip.licence) == (64, "~100", "apache-2.0")
    assert [m.name for m in found.values() if m.path] == ["bundled"]
    for name in set(found) - {"bundled"}:
        assert sources(name)


def test_what_is_here_is_told_by_its_file(cache: Path, small_h5: Path, other_h5: Path) -> None:
    place = put(sources("ViT-B-16-SigLIP2:webli")[0], cache, small_h5, licence="mine")
    own = put(Source("hub", "hf-hub:me/mine@v2"), cache, other_h5, languages="de eo")
    file = cache / "url-0" / "model.h5"
    file.parent.mkdir()
    file.write_bytes(small_h5.read_bytes())
    (cache / "hub" / "broken").mkdir()
    (cache / "hub" / "broken" / "revisions.json").write_text('{"main": "../../x.h5", "a": 3}')
    (cache / "hub" / "stray.txt").write_text("no folder")
    here = {model.name: model for model in clip.available_models() if model.path}
    assert set(here) == {"bundled", "ViT-B-16-SigLIP2:webli", "hf-hub:me/mine@v2", str(file)}
    assert here["ViT-B-16-SigLIP2:webli"].path == place
    assert here["ViT-B-16-SigLIP2:webli"].licence == "mine"
    assert here["ViT-B-16-SigLIP2:webli"].resolution == 32
    assert (here["hf-hub:me/mine@v2"].languages, here["hf-hub:me/mine@v2"].path) == ("de eo", own)
    for name, model in here.items():
        assert clip.load(name).path == model.path
    own.write_bytes(b"damaged")
    assert [m.parameters for m in clip.available_models() if m.path == own] == [None]


def test_the_command_lists_them(cache: Path, small_h5: Path, capsys) -> None:
    put(sources("ViT-B-32:openai")[0], cache, small_h5)
    assert main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "parameters", "pixels"] and len(rows) == 179
    assert [row.split()[1] for row in rows if row.startswith("*")] == [
        "bundled",
        "ViT-B/32",  # timm's repository is one of its sources
        "ViT-B-32:openai",
    ]
    assert main(["models", "--here", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told] == ["bundled", "ViT-B/32", "ViT-B-32:openai"]
    assert Path(told[0]["path"]).is_file()


@pytest.mark.parametrize("spoiled", [b"{", b"[]", b'{"main": 3}', b"\xff", b'{"main": "../x.h5"}'])
def test_spoiled_revisions_begin_anew(cache: Path, small_h5: Path, spoiled: bytes) -> None:
    source = Source("hub", "hf-hub:me/mine")
    path = put(source, cache, small_h5)
    (path.parent / "revisions.json").write_bytes(spoiled)
    assert [m for m in clip.available_models() if m.path == path] == []
    note(source, path)
    assert [m.name for m in clip.available_models() if m.path == path] == ["hf-hub:me/mine"]
    with open_h5(path) as (datasets, _):
        assert datasets
