"""Flags and YAML files become one configuration."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from nnclip.errors import ConfigError
from nnclip.training.config import TrainConfig, flag_of, shown_default
from nnclip.training.flags import make_parser, parse_flags, write_settings

PUBLISHED = (
    "-ft -b 64 -ag -ep 30 -wi 10000 --train-txt-path T.csv --val-txt-path V.csv --lr 5.0e-4 "
    "--beta1 0.9 --beta2 0.98 --eps 1.0e-6 --wd 1.0e-4 --solver AdamW"
)


def test_the_published_command_is_understood() -> None:
    config = parse_flags(PUBLISHED.split())
    assert (config.finetuning, config.aggregate, config.batch_size) == (True, True, 64)
    assert (config.train, config.val, config.warmup_iter) == ("T.csv", "V.csv", 10000)
    assert config.decay == pytest.approx(0.2)  # torch's units: 1e-4 / 5e-4
    scratch = parse_flags(PUBLISHED.removeprefix("-ft ").split())
    assert not scratch.finetuning


def test_short_flags_and_underscores() -> None:
    argv = "-c cpu -t half -i 5 -m out -d 1 -o m.h5 --context_length 32 --image-size 112 --seed 1"
    config = parse_flags(argv.split())
    assert (config.context, config.type_config, config.max_iter) == ("cpu", "half", 5)
    assert (config.context_length, config.image_size, config.device_id) == (32, 112, 1)


def test_flags_go_over_files_and_files_over_defaults(tmp_path: Path) -> None:
    first, second = tmp_path / "model.yaml", tmp_path / "training.yaml"
    first.write_text("model:\n  model: tiny\n  image_size: 64\n")
    second.write_text("training: {lr: 1e-3, eps: 1e-8, epochs: 35, warmup_iter: 0.2}\nseed: 11\n")
    argv = ["--config", str(first), "--config", str(second), "--seed", "12"]
    config = parse_flags(argv)
    assert (config.model, config.image_size, config.lr, config.eps) == ("tiny", 64, 1e-3, 1e-8)
    assert (config.epochs, config.warmup_iter, config.seed) == (35.0, 0.2, 12)


def test_written_settings_give_the_same_run(tmp_path: Path) -> None:
    config = parse_flags(PUBLISHED.split())
    write_settings(tmp_path / "settings.yaml", config)
    assert parse_flags(["--config", str(tmp_path / "settings.yaml")]) == config


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("learning_rate: 1", "unknown setting 'learning_rate'"),
        ("batch_size: many", "expected int"),
        ("finetuning: 3", "expected bool"),
        ("- 1", "found list"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        parse_flags(["--config", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"beta2": 1.0},
        {"crop_scale": 0.0},
        {"context": "tpu"},
        {"micro_batch_size": 48},
        {"solver": "SGD"},
        {"epochs": 0.0},
        {"check_interval": 0},
        {"lr": -1.0},
        {"clip_norm": -1.0},
        {"max_iter": -1},
    ],
)
def test_impossible_settings_are_refused_by_their_flag(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="--" + next(iter(wrong)).replace("_", "-")):
        TrainConfig(**wrong)


def test_every_setting_says_what_it_does() -> None:
    assert all(entry.metadata["help"] for entry in dataclasses.fields(TrainConfig))


def flag_table() -> str:
    """The table at the end of docs/training.md."""
    rows = ["| flag | default | |", "|---|---|---|", "| `--config` | | YAML file of settings |"]
    for entry in dataclasses.fields(TrainConfig):
        flags = ", ".join(f"`{f}`" for f in entry.metadata["flags"] or (flag_of(entry.name),))
        choices = entry.metadata["choices"]
        help_text = entry.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        rows.append(f"| {flags} | {shown_default(entry)} | {help_text} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def test_the_page_lists_every_flag_and_no_other(root: Path) -> None:
    """To renew it, put what `flag_table` gives behind the heading."""
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    assert page.split("## Flags\n\n")[1] == flag_table()
    known = set(make_parser()._option_string_actions) | {"--column", "--no-..."}
    clusters = (root / "docs" / "clusters.md").read_text(encoding="utf-8")
    text = page + clusters.split("## Slurm")[1]
    mentioned = set(re.findall(r"`(--?[a-z][a-z0-9_-]*)", text))
    assert mentioned <= known, mentioned - known


def commands_of(page: str) -> list[str]:
    """The lines of a page's shell blocks that call train.py, without what stands before it."""
    blocks = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.split("train.py", 1)[1] for line in lines if "train.py" in line]


def test_the_recipes_of_fine_tuning_can_be_asked_for(root: Path) -> None:
    page = (root / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    configs = [parse_flags(shlex.split(command)) for command in commands_of(page)]
    assert len(configs) == 3
    small, middle, large = configs
    assert small.wise_ft < 1 and len(small.eval) == 2
    assert middle.layer_decay < 1 and middle.batch_size % middle.micro_batch_size == 0
    assert large.aggregate and large.loss == "sigmoid" and not large.finetuning
