"""Published weights, fetched for the owner of a page: by `nnclip download`, watched from here."""

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from nnclip.errors import ConfigError, NnclipError
from nnclip.service.values import echo
from nnclip.weights.catalogue import is_published, sources
from nnclip.weights.download import PACKAGES, cache_dir
from nnclip.weights.kept import folder_of
from nnclip.weights.known import BUNDLED_NAME, KnownModel, known_models

# what to begin with: names that know photographs
FIRST = (
    "ViT-B/32",
    "ViT-B-16-SigLIP2:webli",
    "xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k",
    "ViT-L-14:datacomp_xl_s13b_b90k",
)
BYTES = 4  # of a parameter
_LAST = 4000  # characters of what the process said


def published() -> list[KnownModel]:
    """What can be fetched and is not here yet, those of FIRST before all others."""
    models = [it for it in known_models(cache_dir()) if it.name != BUNDLED_NAME and it.path is None]
    return sorted(models, key=lambda it: FIRST.index(it.name) if it.name in FIRST else len(FIRST))


def size_of(model: KnownModel) -> int | None:
    """About how many bytes its file will have."""
    return None if model.parameters is None else round(model.parameters * 1e6 * BYTES)


class Download:
    """One fetch at a time, in a process of its own; for several threads.

    Attributes:
        name: what is, or was, fetched; "" before the first.
        path: the file, once it is there.
        error: why it is not, "" while it may still come.
        stopped: whether somebody stopped it.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Fetch nothing yet; `environment` is the process's, this one's if None."""
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self.name, self.error, self.stopped = "", "", False
        self.path: Path | None = None
        atexit.register(self.stop)  # what came is kept

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._process is not None

    def start(self, name: str) -> None:
        """Begin, or go on where an earlier call stopped.

        Raises:
            ConfigError: no such name, or another one is being fetched.
        """
        if not is_published(name) or "://" in name:
            raise ConfigError(f"found no published model {echo(name)}, expected one of the list")
        sources(name)
        with self._lock:
            if self._process is not None:
                if name == self.name:
                    return
                raise ConfigError(
                    f"{self.name} is being fetched: wait until it is here, or stop it"
                )
            self.name, self.path, self.error, self.stopped = name, None, "", False
            environment = dict(os.environ if self._environment is None else self._environment)
            packages = [str(PACKAGES), environment.get("PYTHONPATH", "")]
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "nnclip", "download", name],
                env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, packages))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """Stop; what came is kept for the next start."""
        with self._lock:
            if self._process is not None:
                self.stopped = True
                self._process.terminate()

    def bytes(self) -> int:
        """How much of it is here."""
        return sum(map(_bytes_of, _partial(self.name))) if self.name else 0

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        said, complained = process.communicate()
        with self._lock:
            path = Path(said.strip().rpartition("\n")[2])
            if process.returncode == 0 and said.strip() and path.is_file():
                self.path = path
            elif not self.stopped:
                last = (complained[-_LAST:].strip().splitlines() or ["it ended without a word"])[-1]
                self.error = last.removeprefix("nnclip: ")
            self._process = None


def _partial(name: str) -> list[Path]:
    """Where files of a name are while they come."""
    from huggingface_hub import constants

    found: list[Path] = []
    try:
        places = sources(name)
    except NnclipError:
        return []
    for source in places:
        if source.repository is None:
            found += folder_of(source, cache_dir()).glob("*.part")
        else:
            folder = "models--" + source.repository.replace("/", "--")
            found += (Path(constants.HF_HUB_CACHE) / folder / "blobs").glob("*")
    return found


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it got its name meanwhile
        return 0
