"""What a rank computes on: found by what is there, refused where it cannot be."""

import importlib.util
import os

import nnabla as nn
import numpy as np
import openvino as ov
import pytest
from nnabla.ext_utils import get_extension_context
from openvino import opset15 as op

from nnclip.engine.model import compile_model
from nnclip.errors import ConfigError
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.machine import choose_context, choose_engine, enter_context, threads_of


class OneOf(Alone):
    """One of several ranks of this host."""

    def __init__(self, ranks: int) -> None:
        self.size = self.local_size = ranks


@pytest.fixture
def _context_as_before():
    before = nn.get_current_context()
    yield
    nn.set_default_context(before)


@pytest.mark.skipif(
    importlib.util.find_spec("nnabla_ext.cudnn") is not None, reason="a GPU may be there"
)
def test_the_context_is_what_is_there_and_a_missing_one_is_told() -> None:
    assert choose_context("") == choose_context("cpu") == "cpu"
    with pytest.raises(ConfigError, match="--context cudnn: cannot be used here"):
        choose_context("cudnn")


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert [threads_of(OneOf(ranks)) for ranks in (1, 2, 4, 8, 16)] == [8, 4, 2, 1, 1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is everybody's")
def test_ranks_of_one_thread_are_not_all_put_on_the_first_core() -> None:
    port = op.parameter([2], np.float32)
    shared = compile_model(ov.Model([op.result(port)], [port]), "fp32", threads=1)
    assert not shared.get_property("ENABLE_CPU_PINNING")


def test_a_rank_bound_to_too_few_cores_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What Open MPI does with two ranks unless told otherwise."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert threads_of(OneOf(2)) == 1 and "--bind-to none" in caplog.text


def test_the_engine_is_compiled_on_cpus_alone() -> None:
    engine = choose_engine(TrainConfig(), "cpu", Alone())
    assert engine.compiled and engine.precision == "fp32"
    assert not choose_engine(TrainConfig(), "cudnn", Alone()).compiled
    assert choose_engine(TrainConfig(type_config="half"), "cudnn", Alone()).precision == "fp16"
    assert not choose_engine(TrainConfig(engine="nnabla", recompute=True), "cpu", Alone()).compiled


def test_what_training_without_openvino_costs_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nnclip.training.machine.openvino_available", lambda: False)
    assert not choose_engine(TrainConfig(engine="nnabla"), "cpu", Alone()).compiled
    assert "slower" not in caplog.text
    assert not choose_engine(TrainConfig(), "cpu", Alone()).compiled
    assert caplog.text.count("20 to 50 times slower") == 1


@pytest.mark.parametrize(
    ("context", "settings", "said"),
    [
        ("cpu", {"recompute": True}, "--recompute: found the compiled step"),
        ("cpu", {"engine": "nnabla", "type_config": "half"}, "needs the compiled step"),
        ("cudnn", {"engine": "compiled"}, "expected cpu with OpenVINO"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(context: str, settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_engine(TrainConfig(**settings), context, Alone())


def test_half_precision_on_a_cpu_leaves_nnabla_in_float(_context_as_before: None) -> None:
    """Its half would round token ids; the compiled step has bfloat16 of its own."""
    context = enter_context(TrainConfig(type_config="half", device_id=0), "cpu", Alone())
    assert context.backend == get_extension_context("cpu", type_config="float").backend
