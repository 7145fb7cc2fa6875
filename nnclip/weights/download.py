"""Published weights, fetched once and kept: a name or an address becomes an .h5 in the cache."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
from filelock import FileLock, Timeout

from nnclip.errors import DownloadError
from nnclip.weights.catalogue import CATALOGUE, Source, sources
from nnclip.weights.hub import digest_of, fetch_snapshot, sha256
from nnclip.weights.kept import folder_of, kept, note
from nnclip.weights.recorded import write_down
from nnclip.weights.transfer import NoPlaceError, Patience, storing, transfer

logger = logging.getLogger(__name__)

PACKAGES = Path(__file__).parents[2]  # the folder that holds nnclip
OPEN_CLIP_SETTINGS = "open_clip_config.json"


def cache_dir() -> Path:
    """The folder that holds fetched files: NNCLIP_CACHE, or ~/.cache/nnclip."""
    return Path(os.environ.get("NNCLIP_CACHE") or Path.home() / ".cache" / "nnclip")


def fetch(
    name: str,
    cache: str | Path | None = None,
    *,
    origin: str | None = None,
    patience: Patience | None = None,
    newest: bool = False,
) -> Path:
    """The path of an .h5 with these weights; fetches and converts it if the cache lacks it.

    A file in the cache is always whole: it got its name only after its hash (where one is
    published) or its structure was checked. What an interrupted call brought is kept beside it
    and continued. Of several processes that want the same file one fetches, the others wait.

    A name may have several sources. They are asked in turn, and one that does not answer is passed
    over in seconds: a line in the log says which was asked and what it answered. The parameters'
    digest is written down, and it is told if two sources of one name differ.

    Args:
        name: what `catalogue.sources` takes, such as "ViT-B/32", "ViT-B-16-SigLIP2:webli",
            "hf-hub:timm/ViT-B-16-SigLIP2" or an http(s) address.
        cache: the folder to keep it in; `cache_dir()` if not given.
        origin: whose file, one of `catalogue.ORIGINS`; if not given, whichever is in the cache,
            else the first that answers.
        patience: when to give up on a bad line.
        newest: ask the hub whether a repository has changed since; what changed is converted again.

    Raises:
        ConfigError: no such name or address.
        DownloadError: cannot be fetched, stored, verified or converted.
    """
    cache = Path(cache or cache_dir())
    found = sources(name, origin)
    refused: dict[str, list[str]] = {}  # why -> whose
    for source in found:
        there, ask = _kept(found, cache), newest and len(found) == 1 and bool(source.repository)
        if there is None or ask:
            try:
                there = source, _brought(source, found, cache, patience, ask)
            except NoPlaceError:
                raise
            except DownloadError as error:
                if there is not None:
                    logger.warning("%s: the copy in the cache is used: %s", name, error)
                    return there[1]
                if len(found) == 1:
                    raise
                why = str(error).partition(";")[0]
                logger.warning("%s from %s: %s", name, source.origin, why)
                why = why.removeprefix(f"{source.url}: ").removeprefix(f"{source.repository}: ")
                refused.setdefault(why, []).append(source.origin)
                continue
            if refused:
                logger.warning("%s from %s: %s: fetched", name, source.origin, source.url)
        if name in CATALOGUE:
            write_down(cache, name, there[0].origin, there[1])
        return there[1]
    reasons = "; ".join(f"{', '.join(origins)}: {why}" for why, origins in refused.items())
    raise DownloadError(
        f"{name}: found no source that gives it, expected one of {len(found)}: "
        f"{reasons}. Check the connection and the proxy (https_proxy), or let "
        "NNCLIP_MIRROR name a server that has it"
    )


def _kept(found: Sequence[Source], cache: Path) -> tuple[Source, Path] | None:
    """The first of these sources whose .h5 is in the cache."""
    paths = ((source, kept(source, cache)) for source in found)
    return next(((source, path) for source, path in paths if path is not None), None)


def _brought(
    source: Source, found: Sequence[Source], cache: Path, patience: Patience | None, ask: bool
) -> Path:
    """Fetch from one of the sources, unless another process did so meanwhile."""
    folder, quick = folder_of(source, cache), len(found) > 1
    with _alone(folder / ("repository" if source.repository else source.weights_name)):
        there = _kept(found, cache)
        if there is not None and not ask:
            return there[1]
        if source.repository is not None:
            return _from_hub(source, folder)
        path = folder / source.weights_name
        if source.is_foreign:
            original = path.with_name(source.file_name)
            if not original.exists():
                _bring(source, original, patience, quick)
            _convert(source, original, path)
            original.unlink()
        else:
            _bring(source, path, patience, quick)
    return path


def _from_hub(source: Source, folder: Path) -> Path:
    """Fetch a repository into the hub's cache; convert it, unless that was done with its files."""
    assert source.repository is not None
    logger.info("fetching %s into the hub's cache", source.url)
    snapshot = fetch_snapshot(source.repository, source.revision)
    pixels = "" if source.resolution is None else f"-{source.resolution}px"
    path = folder / f"{digest_of(snapshot)}{pixels}.h5"
    if not path.exists():
        _convert(source, snapshot, path)
    with storing(path):
        note(source, path)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of `path`; the system drops it if this process dies."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("another process is fetching %s: waiting for it", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _bring(source: Source, path: Path, patience: Patience | None, quick: bool) -> None:
    """Fetch, check, and only then give the file its name."""
    partial = path.with_name(path.name + ".part")
    logger.info("fetching %s into %s", source.url, path)
    hashed = source.sha256 is not None
    transfer(source.url, partial, hashed=hashed, patience=patience, quick=quick)
    try:
        _check(source, partial)
    except DownloadError:
        partial.unlink()
        raise
    with storing(path):
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        partial.with_name(partial.name + ".validator").unlink(missing_ok=True)


def _check(source: Source, partial: Path) -> None:
    """Compare the hash, or, where none is published, see that an .h5 is one."""
    if source.sha256 is not None:
        digest = sha256(partial)
        if digest != source.sha256:
            raise DownloadError(
                f"{source.url}: found sha256 {digest}, expected {source.sha256}; the file was "
                "removed, try again. If it happens again, that server has another file"
            )
    elif not source.is_foreign:
        try:
            h5py.File(partial, "r").close()
        except OSError as error:
            with partial.open("rb") as file:
                head = file.read(24)
            raise DownloadError(
                f"{source.url}: found {partial.stat().st_size:,} bytes that begin with {head!r}, "
                f"expected a whole HDF5 file ({error}); the file was removed, check the address"
            ) from error


def _convert(source: Source, original: Path, path: Path) -> None:
    """Let nnclip.convert make the .h5, in a process of its own.

    A file whose hash was not checked is removed if it does not convert: it may be the reason. The
    hub's own cache is left as it is.
    """
    command = [sys.executable, "-m", "nnclip.convert.torch_to_h5", str(original), str(path)]
    # a state dictionary does not show whose it is, but here the publisher is known
    command += ["--dialect", "openai" if source.origin == "openai" else "auto"]
    if source.resolution is not None:
        command += ["--resolution", str(source.resolution)]
    with _settings(source, original) as settings:
        done = subprocess.run(
            command + settings,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGES), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode != 0:
        if source.sha256 is None and source.repository is None:
            original.unlink()
        last = (done.stdout.strip().splitlines() or ["no message"])[-1]
        what = original if source.repository is None else source.url
        raise DownloadError(f"{what}: could not be converted to {path.name}: {last}")


@contextmanager
def _settings(source: Source, folder: Path) -> Iterator[list[str]]:
    """The flag that gives the settings of a repository which has none of its own."""
    if source.settings is None or (folder / OPEN_CLIP_SETTINGS).exists():
        yield []
        return
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / OPEN_CLIP_SETTINGS
        file.write_text(source.settings, encoding="utf-8")
        yield ["--config", str(file)]
