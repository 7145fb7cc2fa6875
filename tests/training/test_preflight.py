"""What can fail fails before the first step, with one sentence, and leaves nothing behind."""

import dataclasses
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nnclip.cli import main
from nnclip.errors import ConfigError, DataError, NnclipError
from nnclip.preflight import check_file, check_folder, check_packages, check_room
from nnclip.sources.check import check_images, spread
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.pairs import Pair, PairTable
from nnclip.training.flags import parse_flags
from nnclip.training.launch import launch, settled
from nnclip.training.preflight import check_batch, check_captions
from nnclip.training.trainer import Trainer


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=4, warmup_iter=0, lr=1e-5, workers=0, context="cpu",
        monitor_path=str(tmp_path / "run"),
    )  # fmt: skip


def place(name: str, folder: Path) -> Path:
    """An output that cannot be written."""
    (folder / "file").write_text("content")
    (folder / "full").mkdir()
    return {
        "folder": folder / "full",
        "below a file": folder / "file" / "new.h5",
        "far below a file": folder / "file" / "a" / "b" / "new.h5",
        "taken": folder / "file",
        "unwritable": Path("/proc/nnclip/new.h5"),
    }[name]


OUTPUTS = ("folder", "below a file", "far below a file", "taken", "unwritable")


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_model_that_cannot_be_written_is_told_first(
    settings: TrainConfig, tmp_path: Path, name: str
) -> None:
    path = place(name, tmp_path)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="--model-save-path"):
        settled(dataclasses.replace(settings, model_save_path=str(path)), Alone())
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("name", ["below a file", "far below a file", "taken", "unwritable"])
def test_a_folder_that_cannot_be_written_is_told_first(
    settings: TrainConfig, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match="--monitor-path"):
        path = str(place(name, tmp_path))
        settled(dataclasses.replace(settings, monitor_path=path), Alone())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written to"):
        check_file(tmp_path / "model.h5", "-o")


COMMANDS = {
    "train-tokenizer": ["train-tokenizer", "PAIRS", "--column", "title", "-o", "OUT"],
    "fetch-pairs": ["fetch-pairs", "PAIRS", "OUT"],
    "cache-features": ["cache-features", "none.h5", "PAIRS", "-o", "OUT"],
    "train-heads": ["train-heads", "none.h5", "PAIRS", "-m", "OUT", "-c", "cpu"],
    "evaluate": ["evaluate", "zero-shot", "PAIRS", "--figures", "OUT"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["below a file", "unwritable"])
def test_every_command_looks_at_its_output_before_anything_else(
    command: str, name: str, tmp_path: Path, pairs_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"OUT": str(place(name, tmp_path)), "PAIRS": str(pairs_csv)}
    assert main([words.get(word, word) for word in COMMANDS[command]]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"nnclip {command}: ")
    assert "expected a folder there" in said[0] or "cannot be written to" in said[0]


def test_a_tokenizer_is_not_learned_for_a_folder(
    tmp_path: Path, pairs_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-tokenizer", str(pairs_csv), "-o", str(tmp_path)]) == 2
    assert "found a folder, expected the name of a file" in capsys.readouterr().err


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_room_for_a_checkpoint_is_asked_for_before(settings: TrainConfig) -> None:
    with files_no_larger_than(1 << 24), pytest.raises(ConfigError) as error:
        Trainer(settings, Alone(), "cpu")
    assert "found room for 0.017 GB" in str(error.value) and "a checkpoint" in str(error.value)
    with pytest.raises(ConfigError, match="expected 1000000000"):
        check_room(settings.monitor_path, 10**18, "the features", "-o")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages("numpy")
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with pytest.raises(
        ConfigError, match=r"this needs tensorboard, which is not installed.*pip install"
    ):
        check_packages("tensorboard")


@pytest.mark.torch  # of requirements-dev, as torch is
def test_weights_and_biases_wants_a_key_before(
    settings: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    pytest.importorskip("wandb").teardown()  # it keeps the settings of its first use
    logging = dataclasses.replace(settings, wandb="project")
    with pytest.raises(ConfigError, match=r"--wandb: found no key for https://api\.wandb\.ai"):
        settled(logging, Alone())
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai\n  login user\n  password 0\n")
    netrc.chmod(0o600)
    settled(logging, Alone())
    netrc.unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    settled(logging, Alone())


@pytest.mark.parametrize("flag", ["train", "val"])
@pytest.mark.parametrize(
    ("good", "missing", "said"), [(0, 24, "none of 3 of their images"), (22, 2, "2 of 24")]
)
def test_both_sets_are_looked_at(
    settings: TrainConfig, pairs_csv: Path, tmp_path: Path, flag: str, good: int, missing: int,
    said: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    lines = ["filepath\ttitle"]
    lines += [f"{pairs_csv.parent}/images/{n}.png\timage {n}" for n in range(good)]
    lines += [f"none{n}.png\tmissing {n}" for n in range(missing)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    changed = dataclasses.replace(settings, **{flag: str(table)})
    named = f"--{flag}-txt-path {table}"
    if good:
        Trainer(changed, Alone(), "cpu")
        assert f"{named}: {said} images cannot be read" in caplog.text
        with pytest.raises(DataError, match=f"{named}: found 2 broken images and 0 .* --max-bad 1"):
            Trainer(dataclasses.replace(changed, max_bad=1), Alone(), "cpu")
    else:
        with pytest.raises(DataError, match=f"{named}: found 24 pairs, but {said}"):
            Trainer(changed, Alone(), "cpu")


def test_a_sample_is_spread_over_all() -> None:
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    assert spread(101, 3) == [0, 50, 100]
    assert len(spread(10**7, 16)) == 16


def test_a_damaged_image_in_the_sample_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pairs_csv: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = [Pair(str(pairs_csv.parent / "images" / f"{n}.png"), ("a",)) for n in range(3)]
    check_images([*good, Pair(str(tmp_path / "bad.png"), ("b",))], "DATA x")
    assert "DATA x: 1 of 4 images cannot be read, such as" in caplog.text


class Two(Alone):
    """One of two ranks."""

    size = 2


@pytest.mark.parametrize(
    ("ranks", "batch", "aggregate", "pairs", "said"),
    [
        (Alone, 64, False, 24, "found 64, but 24 pairs; expected at most 24"),
        (Two, 16, True, 24, "found 16 on each of 2 ranks, but 24 pairs; expected at most 12"),
        (Alone, 1, False, 24, "found 1, which leaves nothing to contrast with"),
        (Two, 1, False, 24, "or -ag"),
        (Alone, 8, False, 1, "found 1 pair, expected at least 2"),
        (Two, 1, True, 24, ""),
        (Alone, 24, False, 24, ""),
    ],
)
def test_a_batch_is_held_against_the_pairs(
    ranks: Callable[[], Alone], batch: int, aggregate: bool, pairs: int, said: str
) -> None:
    config = TrainConfig(batch_size=batch, aggregate=aggregate)
    if not said:
        check_batch(config, ranks(), pairs)
        return
    with pytest.raises(NnclipError, match=said):
        check_batch(config, ranks(), pairs)


def test_equal_captions_in_a_batch_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    def table(*captions: str) -> PairTable:
        return PairTable(Pair(f"{n}.png", (text,)) for n, text in enumerate(captions))

    check_captions(TrainConfig(), 4, table(*"abcdefgh"))
    assert not caplog.text
    check_captions(TrainConfig(), 8, table(*"aabcdeff"))
    assert "4 of the first 8 pairs share their caption" in caplog.text
    check_captions(TrainConfig(), 2, table(*"aaaa"))
    assert "the first 4 pairs have one caption, 'a'" in caplog.text


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("val:", ("val", "")),
        ("tf32: off", ("tf32", "off")),
        ("tf32: on", ("tf32", "on")),
        ("max_iter: 3.0", ("max_iter", 3)),
        ("lr: 1e-4", ("lr", 1e-4)),
    ],
)
def test_yaml_means_what_it_says(tmp_path: Path, content: str, value: tuple) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    assert getattr(parse_flags(["--config", str(path)]), value[0]) == value[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("max_iter: 2.7", "max_iter: found 2.7, expected int"),
        ("batch_size:", "batch_size: found nothing, expected int"),
        ("lr:", "lr: found nothing, expected float"),
        ("epochs: .inf", "--epochs: found inf"),
        ("lr: .nan", "--lr: found nan"),
        ("train: [a, b]", r"train: found \['a', 'b'\], expected str"),
        ("train: {a: 1}", "unknown setting 'a'"),
        ("wandb: yes", "wandb: found True, expected str"),
        ("lr: 1\nlr: 2", "'lr' twice"),
        ("a: {lr: 1}\nb: {lr: 2}", "found lr twice"),
        ("batch_size: true", "batch_size: found True"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        parse_flags(["--config", str(path)])


def test_settings_of_one_call_are_not_kept(settings: TrainConfig, tmp_path: Path) -> None:
    from nnclip.training.flags import write_settings

    path = tmp_path / "s.yaml"
    write_settings(path, dataclasses.replace(settings, overwrite=True, resume="latest"))
    assert parse_flags(["--config", str(path)]) == settings


def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    settings: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch("train.py", dataclasses.replace(settings, dry_run=True), Trainer) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(said) == [
        "folder", "pairs", "model", "steps", "time of a step", "time", "memory", "disk",
    ]  # fmt: skip
    assert said["steps"].startswith("4 of 4, 0.8 epochs of 1 x 8 pairs")
    assert float(said["time of a step"].split()[0]) > 0
    assert 0.05 < float(said["memory"].split()[0]) < 20
    assert not (tmp_path / "run").exists()


def test_a_folder_may_not_exist_yet(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", "-m")
    assert not (tmp_path / "a").exists()
