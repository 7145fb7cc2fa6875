import contextlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nnclip.errors import DownloadError
from nnclip.weights.transfer import Patience, transfer

BODY = random.Random(0).randbytes(600_000)
HASTY = Patience(timeout=5.0, attempts=3, pause=0.01)


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "weights.h5.part"


@pytest.fixture
def url(served):
    served.files["/weights.h5"] = BODY
    return f"{served.url}/weights.h5"


def test_brings_the_whole_file(served, url, partial):
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY
    assert len(served.requests) == 1


def test_goes_on_where_the_line_was_cut(served, url, partial):
    served.cuts = [100_000, 250_000]
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY
    assert served.asked("Range") == [None, "bytes=100000-", "bytes=350000-"]
    assert served.asked("If-Range") == [None, '"1"', '"1"']


def test_more_cuts_than_attempts_do_no_harm_while_bytes_come(served, url, partial):
    served.cuts = [50_000] * 8
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY


def test_starts_over_on_a_server_without_ranges(served, url, partial):
    served.ranges, served.cuts = False, [100_000]
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY


def test_gives_up_where_every_attempt_ends_at_the_same_byte(served, url, partial):
    served.ranges, served.cuts = False, [100_000] * 9
    with pytest.raises(DownloadError, match=r"ended at byte 100,000 of 600,000, 3 times"):
        transfer(url, partial, patience=HASTY)
    assert len(served.requests) == 3


@pytest.mark.parametrize("weak", [True, False])
@pytest.mark.parametrize(("hashed", "second"), [(False, None), (True, "bytes=100000-")])
def test_resumes_without_a_validator_only_under_a_hash(served, url, partial, hashed, second, weak):
    served.tag, served.cuts = 'W/"1"' if weak else "", [100_000]
    transfer(url, partial, hashed=hashed, patience=HASTY)
    assert partial.read_bytes() == BODY
    assert served.asked("Range") == [None, second]


@pytest.mark.parametrize("tag", ["", 'W/"1"'])  # a weak tag promises too little
def test_resumes_by_date_where_there_is_no_strong_tag(served, url, partial, tag):
    served.tag, served.date, served.cuts = tag, "Sat, 21 Nov 2026 06:22:28 GMT", [100_000]
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY
    assert served.asked("If-Range") == [None, served.date]


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(served, url, partial, if_range):
    served.cuts, served.if_range = [100_000], if_range
    with pytest.raises(DownloadError):
        transfer(url, partial, patience=Patience(attempts=1))
    served.files["/weights.h5"], served.tag = BODY[::-1], '"2"'
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY[::-1]


def test_a_finished_partial_file_is_left_alone(served, url, partial):
    partial.write_bytes(BODY)
    transfer(url, partial, hashed=True, patience=HASTY)
    assert partial.read_bytes() == BODY
    assert served.asked("Range") == ["bytes=600000-"]


def test_a_partial_file_longer_than_the_servers_is_dropped(served, url, partial):
    partial.write_bytes(BODY + b"more")
    transfer(url, partial, hashed=True, patience=HASTY)
    assert partial.read_bytes() == BODY


def test_a_server_that_sends_another_range_is_not_believed(served, url, partial):
    served.cuts, served.content_range = [100_000], "bytes 0-599999/600000"
    with pytest.raises(DownloadError, match=r"from 100000 on, the server sent bytes 0-599999"):
        transfer(url, partial, patience=HASTY)


def test_a_body_of_unknown_length(served, url, partial):
    served.chunked, served.cuts = True, [100_000]
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY


def test_a_missing_file_is_asked_for_once(served, partial):
    with pytest.raises(DownloadError, match=r"other.h5: the server answers 404.*NNCLIP_MIRROR"):
        transfer(f"{served.url}/other.h5", partial, patience=HASTY)
    assert len(served.requests) == 1
    assert not partial.exists()


def test_an_overloaded_server_is_asked_again(served, url, partial):
    served.statuses = [503, 429]
    transfer(url, partial, patience=HASTY)
    assert partial.read_bytes() == BODY


def test_a_server_that_stays_overloaded(served, url, partial):
    served.statuses = [503] * 9
    with pytest.raises(DownloadError, match=r"answers 503 .* 3 times in a row"):
        transfer(url, partial, patience=HASTY)


def test_a_silent_server_counts_as_dead(served, url, partial):
    served.pace = 0.5
    with pytest.raises(DownloadError, match=r"broke at byte 0 \(timed out\), 2 times"):
        transfer(url, partial, patience=Patience(timeout=0.1, attempts=2, pause=0.01))


def test_nobody_listens(partial):
    with socket.socket() as taken:  # bound but not listening: nobody else can take the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.h5"
        with pytest.raises(DownloadError, match="Connection refused"):
            transfer(url, partial, patience=HASTY)


def test_the_proxy_of_the_environment_is_used(served, url, partial, monkeypatch):
    served.files["http://nowhere.invalid/weights.h5"] = BODY
    monkeypatch.setenv("http_proxy", served.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    transfer("http://nowhere.invalid/weights.h5", partial, patience=HASTY)
    assert partial.read_bytes() == BODY


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    """A file system of `size` bytes, mounted on `folder`; skips where mounting is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_small_is_noticed_before_the_body(served, url, tmp_path):
    with small_disk(tmp_path / "disk", 256 << 10) as disk:
        with pytest.raises(DownloadError, match=r"needs 600,000 bytes more.*NNCLIP_CACHE"):
            transfer(url, disk / "weights.part", patience=HASTY)
        assert (disk / "weights.part").stat().st_size == 0


def test_a_disk_that_fills_up_leaves_a_file_to_go_on_from(served, url, tmp_path):
    served.chunked = True  # so that nobody knows beforehand
    with small_disk(tmp_path / "disk", 256 << 10) as disk:
        partial = disk / "weights.part"
        with pytest.raises(DownloadError, match=r"No space left on device; free some space"):
            transfer(url, partial, patience=HASTY)
        kept = partial.stat().st_size
        assert 0 < kept < len(BODY)
        assert partial.read_bytes() == BODY[:kept]
        subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
        transfer(url, partial, patience=HASTY)
        assert partial.read_bytes() == BODY
    assert served.asked("Range") == [None, f"bytes={kept}-"]


def test_a_limit_on_the_file_size(served, url, partial):
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from nnclip.weights.transfer import transfer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "transfer(sys.argv[1], Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, url, str(partial)], capture_output=True, text=True
    )
    assert "NoPlaceError" in done.stderr
    assert "File too large; free some space" in done.stderr
    assert partial.read_bytes() == BODY[:65536]


def test_a_folder_that_is_not_there(served, url, tmp_path):
    with pytest.raises(DownloadError, match=r"cannot be written \(No such file"):
        transfer(url, tmp_path / "missing" / "weights.part", patience=HASTY)
