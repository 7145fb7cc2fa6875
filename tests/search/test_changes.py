"""What `update` may remove, and several processes that change one collection."""

import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nnclip.cli import main
from nnclip.errors import DataError
from nnclip.search.changes import update
from nnclip.search.embed import embed_shards, prepare
from nnclip.search.lock import locked
from nnclip.search.log import Entry
from nnclip.search.loss import Loss
from nnclip.search.manifest import manifest_of
from nnclip.search.roots import NO_ROOTS
from nnclip.search.shards import planned_items
from nnclip.search.store import FolderStore

from .conftest import COLOURS, draw, embedded

OPTIONS = ["--precision", "fp32", "--workers", "0"]


@pytest.fixture
def photos(tmp_path):
    """Forty images, ten of them in each of four folders."""
    folder = tmp_path / "photos"
    for number in range(40):
        draw(folder / f"{number // 10}" / f"{number}.png", COLOURS[number % 10], (30 + number, 40))
    return folder


@pytest.fixture
def folder(tmp_path, model, photos):
    return embedded(tmp_path / "EMB", model, photos)


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


def taken(path):
    shutil.rmtree(path)


def a_fifth(path):
    for number in (0, 1, 10, 11, 20, 21, 30, 31):
        (path.parent / f"{number // 10}" / f"{number}.png").unlink()


@pytest.mark.parametrize(
    "lose, told",
    [(empty, "it is empty"), (taken, "it is not there"), (a_fifth, "others are there")],
)
def test_a_loss_is_kept_until_it_is_permitted(folder, photos, capsys, monkeypatch, lose, told):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    draw(photos / "4" / "new.png", "pink")
    lose(photos / "2")
    number = 10 if lose is not a_fifth else 8
    assert main(["update", str(folder), "--json", *OPTIONS]) == 1
    captured = capsys.readouterr()
    done = json.loads(captured.out)
    assert (done["added"], done["removed"], done["kept"]) == (1, 0, number)
    assert f"{number} of 40 images" in captured.err and str(photos / "2") in captured.err
    assert told in captured.err and len(FolderStore(folder)) == 41
    assert main(["update", str(folder), "--yes", *OPTIONS]) == 0
    assert f"{number} removed" in capsys.readouterr().out
    assert len(FolderStore(folder)) == 41 - number


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("answer, status, left", [("y\n", 0, 30), ("\n", 1, 40), ("", 1, 40)])
def test_a_terminal_is_asked(folder, photos, capsys, monkeypatch, answer, status, left):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    empty(photos / "0")
    assert main(["update", str(folder), *OPTIONS]) == status
    assert "Remove them from the collection? [y/N]" in capsys.readouterr().err
    assert len(FolderStore(folder)) == left


def test_a_source_that_is_empty_is_asked_about_and_one_that_is_gone_an_error(
    folder, photos, model, capsys, monkeypatch
):
    asked = list[Loss]()
    empty(photos)
    assert update(FolderStore(folder), model, 0, lambda loss: bool(asked.append(loss))).kept == 40
    assert asked[0].folders == ((str(photos), 40, "it is empty: is a disk not mounted?"),)
    photos.rmdir()
    assert main(["update", str(folder), "--yes", *OPTIONS]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert len(FolderStore(folder)) == 40


def test_a_few_images_go_without_a_question_and_moved_ones_too(folder, photos, model):
    (photos / "0" / "1.png").unlink()
    os.rename(photos / "1" / "12.png", photos / "1" / "moved.png")
    done = update(FolderStore(folder), model, 0, lambda loss: pytest.fail("asked"))
    assert (done.added, done.moved, done.removed, done.kept) == (0, 1, 1, 0)


def test_files_that_cannot_be_opened_keep_their_embeddings(folder, photos, model):
    for number in range(5):
        (photos / "0" / f"{number}.png").unlink()
        os.mkfifo(photos / "0" / f"{number}.png")
    done = update(FolderStore(folder), model, 0)
    assert (done.removed, done.kept, len(done.failed)) == (0, 0, 5)
    assert len(FolderStore(folder)) == 40


def test_many_images_that_became_damaged_are_kept(folder, photos, model):
    for file in (photos / "3").iterdir():
        file.write_bytes(bytes(100))
    done = update(FolderStore(folder), model, 0)
    assert (done.removed, done.kept, len(done.failed)) == (0, 10, 10)
    assert update(FolderStore(folder), model, 0, lambda loss: True).removed == 10


def test_embedding_again_takes_in_what_came_since(folder, photos, small_h5, tmp_path, capsys):
    draw(photos / "5" / "new.png", "red")
    draw(photos / "0" / "0.png", "brown", (70, 30))
    (photos / "1" / "11.png").unlink()
    (photos / "bad.png").write_bytes(b"none")
    assert main(["remove", str(folder), str(photos / "2")]) == 0
    command = ["embed", str(photos), "-o", str(folder), "-m", str(small_h5), *OPTIONS]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 came since it was embedded, 1 were embedded again" in captured.out
    assert "1 are gone and were kept: `nnclip update` removes them" in captured.out
    assert "bad.png" in captured.out and "31 images in" in captured.out
    names = {record["image"] for _, record in FolderStore(folder).live()}
    assert str(photos / "5" / "new.png") in names and not any("/2/" in name for name in names)
    assert main([*command, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["images"], done["added"], done["changed"], done["gone"]) == (31, 0, 0, 1)


def test_embedding_again_mends_a_damaged_shard(folder, photos, small_h5, capsys):
    path = folder / "shards" / "00000.npy"
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"?" + content[201:])
    command = ["embed", str(photos), "-o", str(folder), "-m", str(small_h5), *OPTIONS, "--json"]
    assert main(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["images"], done["embedded_now"]) == (40, 40)


def run_at_once(commands):
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nnclip", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    return [(*process.communicate(timeout=300), process.returncode) for process in processes]


def test_processes_that_add_the_same_folder_store_it_once(folder, tmp_path):
    for number in range(6):
        draw(tmp_path / "more" / f"{number}.png", COLOURS[number], (44, 50 + number))
    command = ["add", folder, tmp_path / "more", "--json", *OPTIONS]
    done = [json.loads(out) for out, _, _ in run_at_once([command] * 3)]
    assert sorted(it["added"] for it in done) == [0, 0, 6]
    assert sorted(it["unchanged"] for it in done) == [0, 6, 6]
    assert len(FolderStore(folder)) == 46


def test_two_embeddings_share_neither_work_nor_plans(tmp_path, photos, small_h5):
    command = ["embed", photos, "-o", tmp_path / "E", "-m", small_h5, "--json", *OPTIONS]
    done = [json.loads(out) for out, _, _ in run_at_once([command] * 2)]
    assert sorted(it["embedded_now"] for it in done) == [0, 40]
    assert [it["images"] for it in done] == [40, 40]


def test_a_plan_is_made_once_and_never_without_its_manifest(tmp_path, model, photos):
    folder, wanted = tmp_path / "EMB", manifest_of(model, "", "float16")
    with ThreadPoolExecutor(4) as pool:

        def begin(number):
            draw(photos / "new" / f"{number}.png", COLOURS[number])
            return prepare(folder, wanted, [str(photos)], "filepath")

        begun = list(pool.map(begin, range(4)))
    assert all(it == begun[0] for it in begun)
    assert len(planned_items(folder, begun[0], NO_ROOTS)) == begun[0].items
    embed_shards(folder, model, workers=0)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="nnclip repair"):
        prepare(folder, wanted, [str(photos)], "filepath")


def test_who_waits_for_another_says_so(folder):
    code = (
        "import sys, logging; logging.basicConfig(); from pathlib import Path\n"
        "from nnclip.search.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True)"
    )
    with locked(folder), locked(folder):  # a thread may take it again
        FolderStore(folder).append(Entry(removed=[0]))
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "another process is changing it; waiting" in process.stderr.readline()
    assert process.communicate(timeout=60)[0] == "held\n"
