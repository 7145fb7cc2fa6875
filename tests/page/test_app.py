"""What the page says before it starts."""

import argparse
import socket
from contextlib import closing

import pytest

from nnclip.errors import ConfigError
from nnclip.page.app import add_arguments, check_address, main


@pytest.fixture
def taken():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_names_the_flag_at_once(taken, capsys):
    assert main(["--port", str(taken), "--images", "/nowhere"]) == 2
    said = capsys.readouterr().err
    assert f"port {taken} is taken; choose another with --port" in said and "GRADIO" not in said


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 8889), ("127.0.0.1", 70000), ("127.0.0.1", -1), ("a b", 80)]
)
def test_an_address_that_cannot_be_names_both_flags(host, port):
    with pytest.raises(ConfigError, match=r"--host.*--port"):
        check_address(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_port_stays_free(host):
    for _ in range(2):
        check_address(host, 0)


@pytest.mark.parametrize(
    ("flags", "owner"),
    [
        ([], True),
        (["--host", "::1"], True),
        (["--host", "0.0.0.0"], False),
        (["--allow-host", "photos.example"], False),
        (["--host", "0.0.0.0", "--owner"], True),
        (["--no-owner"], False),
    ],
)
def test_the_owner_is_who_sits_at_this_machine(flags, owner):
    pytest.importorskip("gradio")
    from nnclip.page.server import is_owners

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert is_owners(parser.parse_args(flags)) is owner
