import subprocess
import sys

SCRIPT = """
import sys, time

def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.connect", "os.fork"):
        print(event, args, flush=True)

sys.addaudithook(watch)
import nnclip.engine, nncf, openvino
from openvino.tools import ovc
ovc.telemetry.send_event("a", "b", "c")
time.sleep(1)
"""


def test_nobody_is_told_that_openvino_is_used():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
