"""A collection for years: images that move, patterns of what is left out, facts about images."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from nnclip.cli import main
from nnclip.errors import ConfigError, DataError
from nnclip.image.facts import Facts, facts_of
from nnclip.image.listing import NotRead, files_below
from nnclip.image.skips import USUAL
from nnclip.search.changes import add, add_new, remove, update
from nnclip.search.collection import Collection
from nnclip.search.embed import embed_shards, prepare
from nnclip.search.manifest import manifest_of
from nnclip.search.moved import relocate
from nnclip.search.roots import Roots
from nnclip.search.store import FolderStore
from tests.lazy import lazy

from .conftest import COLOURS, draw, embedded

pq = lazy("pyarrow.parquet")
OPTIONS = ["--precision", "fp32", "--workers", "0"]


@pytest.fixture
def photos(tmp_path):
    """Forty images in four folders."""
    folder = tmp_path / "photos"
    for number in range(40):
        draw(folder / f"{number // 10}" / f"{number}.png", COLOURS[number % 10], (30 + number, 40))
    return folder


@pytest.fixture
def folder(tmp_path, model, photos):
    return embedded(tmp_path / "EMB", model, photos)


@pytest.fixture
def never(model, monkeypatch):
    """The model, which must not embed an image any more."""
    monkeypatch.setattr(type(model), "encode_image", lambda *_: pytest.fail("computed again"))
    return model


def images(store):
    return sorted(record["image"] for _, record in store.live())


def below(folder):
    return sorted(str(path) for path in folder.rglob("*.png"))


def test_names_are_kept_relative_to_roots(folder, photos):
    record = pq.read_table(folder / "shards" / "00000.parquet").to_pylist()[0]
    assert record["image"] == record["path"] == "photos/0/0.png"
    head = json.loads((folder / "manifest.json").read_bytes())
    assert (head["format"], head["roots"]) == (3, {"photos": str(photos)})
    assert images(FolderStore(folder)) == below(photos)


@pytest.mark.parametrize("parts", ["", "2"], ids=["a root", "a folder in it"])
def test_a_folder_that_moved_is_found_again(folder, photos, never, tmp_path, capsys, parts):
    old, new = photos / parts, tmp_path / "disk" / "new"
    new.parent.mkdir()
    old.rename(new)
    assert main(["relocate", str(folder), str(old), str(new)]) == 0
    number = 10 if parts else 40
    assert f"{number} images are below {new} now, 0 were computed" in capsys.readouterr().out
    expected = sorted([*below(photos), *below(new)]) if parts else below(new)
    assert images(FolderStore(folder)) == images(Collection(folder)) == expected
    if not parts:
        done = update(FolderStore(folder), never)
        assert (done.unchanged, done.added, done.removed, done.kept) == (40, 0, 0, 0)


def test_a_second_move_and_images_added_between(folder, photos, model, tmp_path):
    store = FolderStore(folder)
    photos.rename(tmp_path / "b")
    relocate(store, str(photos), str(tmp_path / "b"))
    draw(tmp_path / "b" / "late.png", "red", (99, 20))
    assert update(store, model).added == 1
    remove(store, [str(tmp_path / "b" / "3")])
    (tmp_path / "b").rename(tmp_path / "c")
    relocate(store, str(tmp_path / "b"), str(tmp_path / "c"))
    assert len(store) == 31 and update(store, model).added == 0  # what was removed stays out
    assert images(FolderStore(folder)) == [it for it in below(tmp_path / "c") if "/3/" not in it]


def test_what_cannot_be_relocated_is_told(folder, photos, tmp_path):
    store = FolderStore(folder)
    with pytest.raises(DataError, match="found no image of the collection below it"):
        relocate(store, str(tmp_path / "other"), str(tmp_path))
    with pytest.raises(DataError, match="found none of the 40 images"):
        relocate(store, str(photos), str(tmp_path))
    assert images(store) == below(photos)


def test_doubles_of_a_moved_library_leave(folder, photos, model, tmp_path):
    shutil.copytree(photos, tmp_path / "new")
    store = FolderStore(folder)
    add(store, model, [str(tmp_path / "new")])
    assert len(store) == 80
    shutil.rmtree(photos)
    done = relocate(store, str(photos), str(tmp_path / "new"))
    assert (done.images, done.twice) == (0, 40)
    assert images(store) == images(FolderStore(folder)) == below(tmp_path / "new")
    assert store.sources == [str(tmp_path / "new")]


@pytest.mark.parametrize("how", ["embed", "add", "update"])
def test_a_library_elsewhere_is_told_by_its_content(folder, photos, never, tmp_path, capsys, how):
    new = tmp_path / "mnt" / "library"
    if how == "update":
        new = photos / "below"
        for path in (photos / "1").iterdir():
            new.mkdir(exist_ok=True)
            path.rename(new / f"renamed-{path.name}")
        done = update(FolderStore(folder), never)
        assert (done.moved, done.added, done.removed, done.kept) == (10, 0, 0, 0)
    else:
        new.parent.mkdir()
        photos.rename(new)
        words = {"embed": ["embed", str(new), "-o"], "add": ["add"]}[how]
        rest = [str(new)] if how == "add" else ["-m", str(never.path)]
        assert main([*words, str(folder), *rest, "--json", *OPTIONS]) == 0
        done = json.loads(capsys.readouterr().out)
        assert (done["moved"], done["added"]) == (40, 0)
        assert FolderStore(folder).sources == [str(new)]
    assert images(FolderStore(folder)) == below(new if how != "update" else photos)


def test_copies_are_not_computed_either(folder, photos, never, tmp_path):
    shutil.copytree(photos / "0", tmp_path / "copies")
    done = add(FolderStore(folder), never, [str(tmp_path / "copies")])
    assert (done.added, done.copied, done.moved) == (10, 10, 0)
    store = FolderStore(folder)
    assert len(store) == 50 and store.roots.folders["copies"] == str(tmp_path / "copies")


def test_a_collection_of_an_earlier_format_relocates(folder, photos, never, tmp_path, capsys):
    head = json.loads((folder / "manifest.json").read_bytes())
    table = pq.read_table(folder / "shards" / "00000.parquet")
    names = [f"{photos.parent}/{name}" for name in table["image"].to_pylist()]
    from nnclip.checksums import checksum
    from nnclip.search.sealed import write_sealed
    from nnclip.search.shards import _table_bytes, read_seal

    seal = vars(read_seal(folder, 0))
    dropped = ["width", "height", "taken", "camera", "latitude", "longitude"]
    for column in ("image", "path"):
        index = table.column_names.index(column)
        table = table.set_column(index, column, [names])
    content = _table_bytes(table.drop_columns(dropped))
    (folder / "shards" / "00000.parquet").write_bytes(content)
    write_sealed(folder / "shards" / "00000.json", {**seal, "table": checksum(content)})
    for key in ("checksum", "roots", "exclude"):
        del head[key]
    write_sealed(folder / "manifest.json", {**head, "format": 2})
    store = FolderStore(folder)
    assert images(store) == below(photos) and store.exclude is None
    photos.rename(tmp_path / "new")
    relocate(store, str(photos), str(tmp_path / "new"))
    assert images(FolderStore(folder)) == below(tmp_path / "new")
    assert b'"roots"' not in (folder / "log").read_bytes()  # earlier versions read it, too
    assert main(["update", str(folder), "--facts", *OPTIONS]) == 0
    assert "40 records tell size" in capsys.readouterr().out
    assert {record["height"] for _, record in FolderStore(folder).live()} == {40}
    assert len(FolderStore(folder)) == 40


def test_roots_of_one_name_and_inside_each_other():
    roots = Roots({"a": "/x/a", "a-2": "/y/a", "deep": "/x/a/deep"})
    for name in ("/x/a/1.jpg", "/y/a/b/2.jpg", "/x/a/deep/3.jpg", "/z/4.jpg", "/x/ab.jpg"):
        assert roots.current(roots.stored(name)) == name
    assert roots.stored("/x/a/deep/3.jpg") == "deep/3.jpg" and roots.stored("/z/4") == "/z/4"
    assert roots.moved("/x", "/mnt").folders == {
        "a": "/mnt/a",
        "a-2": "/y/a",
        "deep": "/mnt/a/deep",
    }


HIDDEN = [".trash", "#recycle", "@eaDir", ".thumbnails", "Catalogue.lrdata", ".hidden"]


@pytest.mark.parametrize("name", HIDDEN)
def test_what_other_programs_keep_is_skipped(tmp_path, model, photos, name):
    draw(photos / "0" / name / "x.png", "red")
    draw(photos / "._0.png", "red")
    store = FolderStore(embedded(tmp_path / "EMB", model, photos))
    assert len(store) == 40
    skipped = {key: n for key, n in store.manifest.not_read.items() if key.startswith("skipped")}
    assert sum(skipped.values()) == 2


def test_patterns_and_ignore_files(tmp_path, model, photos, capsys):
    draw(photos / ".keep" / "k.png", "red")
    (photos / "2" / ".nnclipignore").write_text("# mine\n*5.png\n/26.png\n")
    command = ["embed", str(photos), "-o", str(tmp_path / "E"), "-m", str(model.path), *OPTIONS]
    command += ["--exclude", "3/", "--exclude", "1/1[0-4].png", "--exclude", "!.keep"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "5 skipped by 1/1[0-4].png" in out and "1 skipped by 3/" in out
    names = {str(Path(it).relative_to(photos)) for it in images(FolderStore(tmp_path / "E"))}
    wanted = {f"{n // 10}/{n}.png" for n in range(30)} - {f"1/{n}.png" for n in range(10, 15)}
    assert names == wanted - {"2/25.png", "2/26.png"} | {".keep/k.png"}
    draw(photos / "1" / "new.tmp.png", "pink", (77, 20))
    store = FolderStore(tmp_path / "E")
    assert add_new(store, model, [], 0, ["*.tmp.png"]).added == 0
    assert update(FolderStore(tmp_path / "E"), model).added == 0  # they are remembered
    assert store.exclude[: len(USUAL)] == USUAL and store.exclude[-1] == "*.tmp.png"


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("b", {"b", "a/b"}),
        ("/b", {"b"}),
        ("a/*", {"a/b", "a/c.x"}),
        ("a/**", {"a/b", "a/c.x", "a/b/d.x"}),
        ("**/d.x", {"a/b/d.x", "b/d.x"}),
        ("[bc]*", {"b", "a/b", "a/c.x"}),
        ("*.[!x]", set()),
        ("?.x", {"a/c.x", "a/b/d.x", "b/d.x"}),
    ],
)
def test_patterns_mean_what_gitignore_s_do(pattern, gone):
    from nnclip.image.skips import Skips

    skips = Skips.of([pattern])
    tree = {"a": True, "b": True, "a/b": True, "a/c.x": False, "a/b/d.x": False, "b/d.x": False}
    assert {path for path, folder in tree.items() if skips.pattern(path, folder)} == gone


def test_a_pattern_that_cannot_be_read_is_told(tmp_path, photos, model):
    with pytest.raises(ConfigError, match=r"pattern '\[z-a\]': cannot be read"):
        list(files_below(photos, NotRead(), ["[z-a]"]))
    assert main(["embed", str(photos), "-o", str(tmp_path / "E"), "--exclude", "[z-a]"]) == 2
    assert not (tmp_path / "E").exists()


def test_embed_takes_new_sources_and_needs_none(folder, model, photos, tmp_path, capsys):
    draw(tmp_path / "more" / "a.png", "red", (80, 80))
    command = ["embed", str(tmp_path / "more"), "-o", str(folder), "-m", str(model.path), *OPTIONS]
    assert main(command) == 0
    assert "1 came since" in capsys.readouterr().out
    draw(tmp_path / "more" / "b.png", "blue", (80, 80))
    draw(photos / "c.png", "blue", (81, 80))
    assert main(["embed", "-o", str(folder), "-m", str(model.path), "--json", *OPTIONS]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 2
    assert len(FolderStore(folder)) == 43
    assert main(["embed", "-o", str(tmp_path / "none"), *OPTIONS]) == 2
    assert "expected sources to embed into it" in capsys.readouterr().err


def test_a_collection_is_searched_while_it_is_embedded(tmp_path, model, photos, monkeypatch):
    from nnclip.search import embed

    monkeypatch.setattr(embed, "SMALLEST", 32)
    monkeypatch.setattr(embed, "SHARDS", 1 << 20)
    manifest = manifest_of(model, str(model.path), "float16")
    prepare(tmp_path / "E", manifest, [str(photos)], "filepath")
    query = np.eye(32, dtype=np.float32)[0]
    running = FolderStore(tmp_path / "E")
    assert (len(running), running.waiting) == (0, 40)
    assert running.nearest(query, 3, 1.0).rows.size == 0
    embed_shards(tmp_path / "E", model, rank=1, size=2, workers=0)  # the last shard comes first
    assert running.nearest(query, 99, 1.0).rows.size == 8 and running.waiting == 32
    with pytest.raises(DataError, match="32 of 40 images are not embedded yet"):
        remove(running, [str(photos)])
    photos.rename(tmp_path / "b")  # and goes on elsewhere
    with pytest.raises(DataError, match="not embedded yet"):
        relocate(running, str(photos / "3"), str(tmp_path / "b" / "3"))
    assert relocate(running, str(photos), str(tmp_path / "b")).images == 8
    embed_shards(tmp_path / "E", model, workers=0)
    found = running.nearest(query, 99, 1.0)
    whole = FolderStore(tmp_path / "E")
    assert found.rows.tolist() == whole.nearest(query, 99, 1.0).rows.tolist()
    assert running.records(found.rows[:3]) == whole.records(found.rows[:3])
    assert images(whole) == below(tmp_path / "b")


def photo(path: Path, orientation: int = 1, **tags: object) -> Path:
    """A JPEG with EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = tags.get("make", "Canon")
    exif[ExifTags.Base.Model] = tags.get("model", "Canon EOS 5D")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = tags.get(
        "taken", "2019:07:01 10:20:30"
    )
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLongitudeRef] = "S", "E"
    gps[ExifTags.GPS.GPSLatitude] = tags.get("latitude", (33.0, 51.0, IFDRational(3150, 100)))
    gps[ExifTags.GPS.GPSLongitude] = (151.0, 12.0, 36.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), "red").save(path, exif=exif)
    return path


def test_facts_are_kept_in_the_records(tmp_path, model):
    photo(tmp_path / "p" / "a.jpg", orientation=6)
    draw(tmp_path / "p" / "b.png", "red", (50, 30))
    folder = embedded(tmp_path / "E", model, tmp_path / "p")
    first, second = (record for _, record in FolderStore(folder).live())
    assert (first["width"], first["height"]) == (40, 60)  # as seen
    assert (first["taken"], first["camera"]) == ("2019-07-01T10:20:30", "Canon EOS 5D")
    assert (first["latitude"], first["longitude"]) == (-33.85875, 151.21)
    assert (second["width"], second["height"], second["taken"]) == (50, 30, None)
    photo(tmp_path / "p" / "c.jpg", make="SONY", model="ILCE-7M3", taken="0000:00:00 00:00:00")
    update(FolderStore(folder), model)
    third = list(FolderStore(folder).live())[2][1]
    assert (third["camera"], third["taken"]) == ("SONY ILCE-7M3", None)


@pytest.mark.parametrize("latitude", [(IFDRational(0, 0), 0.0, 0.0), (91.0, 0.0, 0.0), (1.0,)])
def test_places_that_cannot_be_are_none(tmp_path, latitude):
    path = photo(tmp_path / "a.jpg", latitude=latitude)
    found = facts_of(path.read_bytes())
    assert (found.latitude, found.longitude, found.width) == (None, None, 60)


def test_damaged_facts_harm_nothing(tmp_path, rng):
    whole = photo(tmp_path / "a.jpg").read_bytes()
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 400), 6):
            content[place] = rng.integers(256)
        assert isinstance(facts_of(bytes(content)), Facts)
    assert facts_of(b"no image") == Facts()


def test_the_collection_itself_may_move(folder, photos, tmp_path):
    os.rename(folder, tmp_path / "elsewhere")
    assert images(FolderStore(tmp_path / "elsewhere")) == below(photos)


@pytest.mark.parametrize("command", ["update", "embed"])
def test_a_disk_with_both_is_mounted_elsewhere(tmp_path, model, photos, capsys, command):
    disk, mounted = tmp_path / "disk", tmp_path / "mnt" / "disk"
    shutil.copytree(photos, disk / "family" / "photos")
    embedded(disk / "search" / "EMB", model, disk / "family")
    shutil.copytree(disk, mounted)
    shutil.rmtree(disk)
    folder = mounted / "search" / "EMB"
    words = ["update", str(folder)] if command == "update" else ["embed", "-o", str(folder)]
    assert main([*words, "-m", str(model.path), "--json", *OPTIONS]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["moved"], done["added"], done.get("embedded_now", 0)) == (40, 0, 0)
    assert images(FolderStore(folder)) == below(mounted / "family")
