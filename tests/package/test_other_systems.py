"""What Windows and macOS lack, taken away: the commands still run.

This is no Windows: it shows that nothing asks for the parts of Unix that are missing there.
"""

import sys

import pytest
from PIL import Image

from tests.package.conftest import ROOT, run

WITHOUT = """
import os, signal, sys
for module in ("fcntl", "resource", "pwd", "grp", "termios", "nnabla", "mpi4py"):
    sys.modules[module] = None
for name in ("sched_getaffinity", "fork", "getuid", "geteuid", "O_NONBLOCK", "O_CLOEXEC",
             "O_NOCTTY", "O_DIRECTORY", "register_at_fork", "posix_fadvise", "posix_fallocate",
             "pread", "preadv", "pwrite", "memfd_create", "sched_setaffinity", "getloadavg",
             "statvfs", "setsid", "killpg", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL"):
    delattr(signal, name)
import mmap
for name in ("MADV_DONTNEED",):
    delattr(mmap, name)
import builtins, io, pathlib
opened = io.open
def open_elsewhere(file, *rest, **named):
    if str(file).startswith("/proc"):
        raise FileNotFoundError(file)
    return opened(file, *rest, **named)
builtins.open = io.open = open_elsewhere
def lacks(call):
    def elsewhere(path, *rest, **named):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return call(path, *rest, **named)
    return elsewhere
opened_low = lacks(os.open)
def open_low(path, *rest, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return opened_low(path, *rest, **named)
os.open, os.stat, os.listdir, os.scandir = open_low, *map(lacks, (os.stat, os.listdir, os.scandir))
import warnings
warnings.filterwarnings("error", category=EncodingWarning, module="nnclip")  # cp1252 there
sys.path.insert(0, sys.argv.pop(1))
from nnclip.cli import main
sys.exit(main(sys.argv[1:]))
"""

COMMANDS = {
    "classify": "classify red.png -t red -t blue",
    "embed and search": "embed . -o e --workers 0; search red -i e; add e .; index e; update e",
    "export": "export --to openvino -o ir",
    "evaluate": "evaluate retrieval pairs.csv",
    "collections": "embed . -o e --workers 0; duplicates e; remove e red.png; repair e",
    "without images": "models; train-tokenizer pairs.csv -o t.json --vocab-size 516",
    "a folder that was exported": "export --to openvino -o ir; classify red.png -m ir -t red",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_without_unix(name, tmp_path):
    Image.new("RGB", (90, 60), "red").save(tmp_path / "red.png")
    (tmp_path / "pairs.csv").write_text("filepath\ttitle\nred.png\ta red square on a red square\n")
    for command in COMMANDS[name].split(";"):
        words = [
            sys.executable,
            "-X",
            "warn_default_encoding",
            "-W",
            "ignore",
            "-c",
            WITHOUT,
            ROOT,
            *command.split(),
        ]
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
