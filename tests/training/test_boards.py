"""Where a run's numbers go: TensorBoard and W&B read back what was given; a full disk is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnclip.training.boards import JsonLines, TensorBoard, WeightsAndBiases, read_log
from tests.lazy import lazy

events = lazy("tensorboard.backend.event_processing.event_accumulator")

VALUES = [{"loss": 4.0 - step, "learning_rate": step / 8} for step in range(3)]


def test_tensorboard_reads_what_was_written_and_forgets_what_is_done_again(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path, start=0)
    for step, values in enumerate(VALUES):
        first.add(step, values)
    first.close()
    again = TensorBoard(tmp_path, start=2)
    again.add(2, {"loss": 9.0})
    again.close()
    found = events.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(0, 4.0), (1, 3.0), (2, 9.0)]
    assert [e.value for e in found.Scalars("learning_rate")] == [0.0, 0.125]


def test_a_log_goes_on_after_its_step_and_passes_over_a_cut_line(tmp_path: Path) -> None:
    log = JsonLines(tmp_path, start=0)
    for step, values in enumerate(VALUES, start=1):
        log.add(step, values)
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    JsonLines(tmp_path, start=2)
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2]


def history(folder: Path) -> list[dict[str, float]]:
    """What W&B's own reader finds in a run's file."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, rows = DataStore(), []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        store.open_for_scan(str(path))
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({(i.key or i.nested_key[0]): json.loads(i.value_json) for i in items})
        store._fp.close()
    return rows


@pytest.mark.torch  # of requirements-dev, as torch is
def test_wandb_offline_holds_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb").teardown()  # it keeps the settings of its first use
    monkeypatch.setenv("WANDB_MODE", "offline")
    for start in (0, 3):
        board = WeightsAndBiases("nnclip", tmp_path, start, {"lr": 1e-3})
        for step, values in enumerate(VALUES, start=start + 1):
            board.add(step, values)
        board.close()
    rows = history(tmp_path)
    assert [row["loss"] for row in rows] == [4.0, 3.0, 2.0] * 2
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}) == 1


FILLED = """
import resource, sys
from nnclip.training.launch import launch
from nnclip.training.flags import parse_flags
from nnclip.training.trainer import Trainer

class Filled(Trainer):
    def run(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # no file grows beyond 4 KiB
        return super().run()

sys.exit(launch("train.py", parse_flags(sys.argv[1:]), Filled))
"""


def test_a_disk_that_fills_ends_the_run_with_a_sentence(
    ranks_environment: dict[str, str],
    root: Path,
    small_h5: Path,
    pairs_csv: Path,
    tmp_path: Path,
) -> None:
    flags = (
        f"-ft --model-load-path {small_h5} --train-txt-path {pairs_csv} --lr 1e-5 -c cpu -b 8 "
        f"-wi 0 --workers 0 --log-interval 1 -i 100 -m {tmp_path}"
    )
    done = subprocess.run(
        [sys.executable, "-c", FILLED, *flags.split()],
        cwd=root, env=ranks_environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "File too large" in done.stderr and "no checkpoint was written yet" in done.stderr
    assert "Traceback" not in done.stderr
