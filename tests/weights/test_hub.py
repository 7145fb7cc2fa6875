"""Repositories of the hub, by their own name and by open_clip's: a server here speaks its API."""

import hashlib
import json
import re
import time
from pathlib import Path

import pytest

from nnclip.errors import ConfigError
from nnclip.weights.catalogue import sources
from nnclip.weights.h5 import open_h5
from nnclip.weights.hub import WEIGHTS, chosen, digest_of
from nnclip.weights.published import open_clip_table, open_clip_weights
from nnclip.weights.recorded import digests
from tests.weights.conftest import COMMIT, publish

NAME = "timm/ViT-B-16-SigLIP2"
FOLDER = "timm--ViT-B-16-SigLIP2"
OTHER = "f" * 40  # a later commit


def kept(done, tmp_path: Path) -> Path:
    """The file that a command printed."""
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.parent.parent == tmp_path / "cache" / "hub" and path.is_file()
    return path


@pytest.mark.torch
def test_a_repository_becomes_an_h5_once(hub, tmp_path: Path, open_clip_files) -> None:
    publish(hub, NAME, open_clip_files)
    path = kept(hub.run(f"hf-hub:{NAME}", HF_TOKEN="hf_mine"), tmp_path)
    assert path.parent.name == FOLDER and re.fullmatch(r"[0-9a-f]{16}\.h5", path.name)
    tokens = hub.asked("Authorization") + hub.asked("authorization")
    assert "Bearer hf_mine" in tokens
    assert not [p for p, _ in hub.requests if p.endswith("/model.safetensors")]
    with open_h5(path) as (_, metadata):
        assert (metadata["licence"], metadata["languages"]) == ("mit", "en no")

    hub.requests.clear()
    load = f"from nnclip import clip; m = clip.load('hf-hub:{NAME}', precision='fp32');"
    load += "print(m.path, m.encode_text(m.tokenize('a', 8)).shape)"
    done = hub.python("-c", load)
    assert done.stdout == f"{path} (1, 16)\n" and not hub.requests, done.stderr

    assert kept(hub.run("ViT-B-16-SigLIP2:webli"), tmp_path) == path  # asks, fetches nothing
    assert kept(hub.run(f"hf-hub:{NAME}@main"), tmp_path) == path
    assert hub.requests and not [p for p, _ in hub.requests if "safetensors" in p]


@pytest.mark.torch
def test_what_changed_is_converted_anew(hub, tmp_path: Path, open_clip_files) -> None:
    publish(hub, NAME, open_clip_files)
    first = kept(hub.run(f"hf-hub:{NAME}"), tmp_path)
    told = json.loads(open_clip_files["open_clip_config.json"])
    told["model_cfg"]["quick_gelu"] = False
    changed = open_clip_files | {"open_clip_config.json": json.dumps(told).encode()}
    publish(hub, NAME, changed, OTHER)
    second = kept(hub.run(f"hf-hub:{NAME}"), tmp_path)
    assert second != first and first.is_file()
    third = kept(hub.run(f"hf-hub:{NAME}@{OTHER}"), tmp_path)
    assert third == second
    revisions = json.loads((second.parent / "revisions.json").read_text())
    assert revisions == {"main": second.name, OTHER: second.name}
    gone = hub.run(f"hf-hub:{NAME}", HF_ENDPOINT="http://127.0.0.1:9")
    assert kept(gone, tmp_path) == second and "does not answer: its cache is used" in gone.stderr


@pytest.mark.torch
def test_a_hub_that_is_not_reached_leaves_what_is_kept(
    hub, tmp_path: Path, open_clip_files
) -> None:
    publish(hub, "timm/vit_base_patch32_clip_224.openai", open_clip_files)
    path = kept(hub.run("ViT-B/32", "--origin", "timm"), tmp_path)
    assert set(digests(tmp_path / "cache")["ViT-B/32"]) == {"timm"}
    path.unlink()
    count = len(hub.requests)
    offline = hub.run("ViT-B/32", "--origin", "timm", HF_HUB_OFFLINE="1")
    assert kept(offline, tmp_path) == path and len(hub.requests) == count
    elsewhere = {"HF_HOME": str(tmp_path / "empty"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    alone = hub.run("ViT-B-32:openai", **elsewhere)  # the hub's cache was emptied
    assert kept(alone, tmp_path) == path and "the copy in the cache is used" in alone.stderr


@pytest.mark.torch
def test_what_was_cut_off_goes_on(hub, tmp_path: Path, open_clip_files) -> None:
    publish(hub, NAME, open_clip_files)
    path = f"/{NAME}/resolve/{COMMIT}/open_clip_model.safetensors"
    hub.halves[path] = 11_000_000  # its library keeps blocks of 10 MiB
    kept(hub.run(f"hf-hub:{NAME}"), tmp_path)
    headers = [{k.lower(): v for k, v in h.items()} for p, h in hub.requests if p == path]
    assert f"bytes={10 << 20}-" in [h.get("range", "")[:15] for h in headers]


@pytest.mark.torch
def test_settings_and_pixels_are_those_of_open_clips_name(hub, open_clip_files) -> None:
    """Where a repository has no settings, as that of a ViTamin, or serves names of other pixels."""
    files = dict(open_clip_files)
    told = json.dumps(json.loads(files.pop("open_clip_config.json"))["model_cfg"])
    publish(hub, "a/b", files)
    code = f"""
from nnclip.weights import catalogue, download
source = catalogue.Source("hub", "hf-hub:a/b", settings={told!r}, resolution=24)
download.sources = lambda *_: (source,)
from nnclip import clip
model = clip.load("hf-hub:a/b")
print(model.config.image.resolution, model.path.name[16:])
"""
    done = hub.python("-c", code)
    assert done.stdout == "24 -24px.h5\n", done.stderr


REFUSED = {
    "nothing of that name": ({}, {}, "the hub answers 404|the hub has no such repository"),
    "offline": ({}, {"HF_HUB_OFFLINE": "1"}, "not in the hub's cache, and HF_HUB_OFFLINE is set"),
    "no connection": (
        {},
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        "not in the hub's cache, and no connection",
    ),
    "no weights": ({"README.md": b"soon"}, {}, "found none of open_clip_model.safetensors"),
    "no model": (
        {"model.safetensors": b"none", "config.json": b"{}"},
        {},
        "could not be converted to .*found a damaged file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_hub_answers_is_told(hub, tmp_path: Path, case: str) -> None:
    files, environment, message = REFUSED[case]
    if files:
        publish(hub, NAME, files)
    start = time.monotonic()
    done = hub.run(f"hf-hub:{NAME}", **environment)
    assert done.returncode == 2 and done.stdout == "" and time.monotonic() - start < 20
    told = done.stderr.splitlines()[-1]
    assert re.search(f"nnclip download: (hf-hub:)?{NAME}: ({message})", told), done.stderr
    assert not list((tmp_path / "cache").rglob("*.h5"))


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ("RepoNotFound", 404, "has no such repository"),
        ("GatedRepo", 403, "wants its terms to be accepted"),
        ("RevisionNotFound", 404, "has no revision 'main' of it"),
        ("", 500, "the hub answers 500"),
    ],
)
def test_a_refusal_says_what_to_do(hub, error: str, status: int, message: str) -> None:
    for path in ("", "/revision/main"):
        hub.refusals[f"/api/models/{NAME}{path}?blobs=true"] = [(status, {"X-Error-Code": error})]
    done = hub.run(f"hf-hub:{NAME}")
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:one", "expected hf-hub:OWNER/NAME"),
        ("hf-hub:a/b/c", "expected hf-hub:OWNER/NAME"),
        ("hf-hub:a/../b", "expected hf-hub:OWNER/NAME"),
        ("ViT-B-32:none", r"found no tag 'none', expected ViT-B-32:TAG with one of openai, laion"),
        ("ViT-B-32", r"found no tag, expected ViT-B-32:TAG with one of openai, laion"),
        ("ViT-X", r"found no published weights named 'ViT-X'.*nnclip models"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sources(name)


def test_names_mean_what_open_clip_means() -> None:
    for name in ("ViT-B/32:openai", "ViT-B-32:openai", "ViT-B-32-quickgelu:openai"):
        assert sources(name)[0].url == "hf-hub:timm/vit_base_patch32_clip_224.openai"
    assert sources("ViT-B-16-SigLIP2")[0].url == f"hf-hub:{NAME}"
    shared = sources("ViT-SO400M-14-SigLIP-378:webli")[0], sources("ViT-SO400M-14-SigLIP-384")[0]
    assert [s.variant for s in shared] == ["main at 378 pixels", "main at 384 pixels"]
    assert "vitamin_small_224" in (sources("ViTamin-S:datacomp1b")[0].settings or "")


@pytest.mark.torch
def test_the_table_is_that_of_open_clip() -> None:
    from open_clip.factory import get_model_config
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    rows = {row.name: row for rows in open_clip_table().values() for row in rows}
    listed = list_pretrained()
    assert len(listed) == 196
    for model, tag in listed:
        row = open_clip_weights(f"{model}:{tag}")
        cfg = get_pretrained_cfg(model, tag)
        assert cfg["hf_hub"].removesuffix("pytorch_model.bin").strip("/") == row.repository
        told = get_model_config(row.model)
        assert told["vision_cfg"].get("image_size", 224) == row.resolution
        assert told["text_cfg"].get("context_length", 77) == row.context
        rows.pop(row.name, None)
    assert not rows


TREES = {
    "open_clip beside timm": (
        ["model.safetensors", "open_clip_model.safetensors", "open_clip_config.json",
         "onnx/a.json"],
        ["open_clip_model.safetensors", "open_clip_config.json"],
    ),
    "several files": (
        ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin",
         "model-00002-of-00002.safetensors", "config.json", "tf_model.h5", "README.md"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
         "model.safetensors.index.json", "config.json", "README.md"],
    ),
    "sentence-transformers": (
        ["modules.json", "model.safetensors", "pytorch_model.bin", "config.json",
         "onnx/config.json",
         "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin",
         "tokenizer.json"],
        ["model.safetensors", "2_Dense/pytorch_model.bin", "modules.json", "config.json",
         "1_Pooling/config.json", "2_Dense/config.json", "tokenizer.json"],
    ),
    "a CLIP below": (
        ["modules.json", "0_CLIPModel/model.safetensors", "0_CLIPModel/config.json", "README.md"],
        ["0_CLIPModel/model.safetensors", "modules.json", "0_CLIPModel/config.json", "README.md"],
    ),
    "numbers without modules": (["1_a/model.safetensors", "config.json"], []),
    "no weights": (["README.md", "config.json"], []),
}  # fmt: skip


@pytest.mark.parametrize("tree", TREES)
def test_what_a_conversion_needs_is_fetched(tree: str) -> None:
    names, wanted = TREES[tree]
    assert chosen(names) == wanted


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_form_of_weights_is_found(name: str) -> None:
    stem, suffix, *index = name.removesuffix(".json").split(".")
    shard = f"{'.'.join([stem, *index[1:]])}-00001-of-00001.{suffix}"  # as transformers names them
    assert chosen([name, shard])[0] == (shard if name.endswith(".json") else name)


def test_a_digest_is_of_contents_linked_or_not(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / hashlib.sha256(b"weights").hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    for folder in ("linked", "copied", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "linked" / "model.safetensors").symlink_to(blob)
    (tmp_path / "copied" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "copied" / "tf_model.h5").write_bytes(b"somebody else's")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"other weights")
    linked, copied, other = (digest_of(tmp_path / f) for f in ("linked", "copied", "other"))
    assert linked == copied != other
