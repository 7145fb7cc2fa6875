"""Published weights: which names there are, where their files lie and what their hashes are."""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from nnclip.errors import ConfigError
from nnclip.weights.published import is_open_clip, open_clip_weights, shared_resolution

ZENODO = "https://zenodo.org/records/16973930/files"
NNABLA = "https://nnabla.org/pretrained-models/nnabla-examples/vision-and-language/clip"
OPENAI = "https://openaipublic.azureedge.net/clip/models"
HUB = "hf-hub:"  # how the address of a repository of the Hugging Face hub begins
MAIN = "main"  # the revision of a repository where none is named
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")

FOREIGN_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


@dataclass(frozen=True)
class Source:
    """One place where weights are published.

    Attributes:
        origin: who published them there; of a file, also its folder in the cache.
        url: where they lie: the address of a file, or `hf-hub:OWNER/NAME`, which `@REVISION` may
            follow.
        sha256: of the file, where one is published.
        settings: an open_clip_config.json for a repository without one, as JSON.
        resolution: pixels, where they are not those that the repository tells.
    """

    origin: str
    url: str
    sha256: str | None = None
    settings: str | None = None
    resolution: int | None = None

    @property
    def repository(self) -> str | None:
        """OWNER/NAME on the hub; None of an address."""
        if not self.url.startswith(HUB):
            return None
        return self.url.removeprefix(HUB).partition("@")[0]

    @property
    def revision(self) -> str:
        """Of a repository: a branch, a tag or a commit."""
        return self.url.partition("@")[2] or MAIN

    @property
    def variant(self) -> str:
        """The revision, and the resolution where it is not the repository's."""
        pixels = "" if self.resolution is None else f" at {self.resolution} pixels"
        return self.revision + pixels

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def weights_name(self) -> str:
        """What the .h5 of a file is called in the cache."""
        return f"{PurePosixPath(self.file_name).stem}.h5"

    @property
    def is_foreign(self) -> bool:
        """Whether this is a PyTorch file that has to be converted."""
        return self.repository is not None or self.file_name.endswith(FOREIGN_SUFFIXES)


def _sony(file: str) -> tuple[Source, ...]:
    """Sony's .h5: where its notebook takes it from today, and where it did before."""
    return (
        Source("zenodo", f"{ZENODO}/{file}.h5?download=1"),
        Source("nnabla", f"{NNABLA}/{file}.h5"),
    )


def _openai(file: str, sha256: str, timm: str, own: str = "") -> tuple[Source, ...]:
    """OpenAI's weights: on the hub, as timm's and, where there is one, OpenAI's own repository."""
    hub = [Source("timm", f"{HUB}timm/{timm}.openai")]
    if own:
        hub.append(Source("huggingface", f"{HUB}openai/clip-vit-{own}"))
    # OpenAI put every file into a directory named by its hash; 404 since October 2025
    return (*hub, Source("openai", f"{OPENAI}/{sha256}/{file}.pt", sha256))


# name -> where it is published, the one to prefer first
CATALOGUE: dict[str, tuple[Source, ...]] = {
    "ViT-B/32": (
        *_sony("ViT-B-32"),
        *_openai(
            "ViT-B-32",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "vit_base_patch32_clip_224",
            "base-patch32",
        ),
    ),
    "ViT-B/16": (
        *_sony("ViT-B-16"),
        *_openai(
            "ViT-B-16",
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
            "vit_base_patch16_clip_224",
            "base-patch16",
        ),
    ),
    "ViT-L/14": (
        *_sony("ViT-L-14"),
        *_openai(
            "ViT-L-14",
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            "vit_large_patch14_clip_224",
            "large-patch14",
        ),
    ),
    "ViT-L/14@336px": _openai(
        "ViT-L-14-336px",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "vit_large_patch14_clip_336",
        "large-patch14-336",
    ),
    "RN50": _openai(
        "RN50",
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
        "resnet50_clip",
    ),
    "RN101": _openai(
        "RN101",
        "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
        "resnet101_clip",
    ),
    "RN50x4": _openai(
        "RN50x4",
        "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
        "resnet50x4_clip",
    ),
    "RN50x16": _openai(
        "RN50x16",
        "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
        "resnet50x16_clip",
    ),
    "RN50x64": _openai(
        "RN50x64",
        "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
        "resnet50x64_clip",
    ),
}
ORIGINS = tuple(dict.fromkeys(s.origin for places in CATALOGUE.values() for s in places))


def is_published(name: str) -> bool:
    """Whether this looks like weights to be fetched rather than like a file."""
    return name in CATALOGUE or "://" in name or name.startswith(HUB) or is_open_clip(name)


def sources(name: str, origin: str | None = None) -> tuple[Source, ...]:
    """The sources of `name`, the preferred one first.

    Args:
        name: of `CATALOGUE`; open_clip's MODEL:TAG; a repository of the hub, `hf-hub:OWNER/NAME` or
            `hf-hub:OWNER/NAME@REVISION`; or the address of a file of weights.
        origin: of a name of `CATALOGUE`, only what lies there, one of `ORIGINS`.

    The environment variable NNCLIP_MIRROR names a server that holds all published files side by
    side; then nobody else is asked for the names of `CATALOGUE`. The hub's mirror is HF_ENDPOINT.

    Raises:
        ConfigError: no such name, nothing of that origin, or an address of something else.
    """
    if name not in CATALOGUE:
        return (_only_source(name),)
    found = tuple(s for s in CATALOGUE[name] if origin in (None, s.origin))
    if not found:
        offered = ", ".join(s.origin for s in CATALOGUE[name])
        raise ConfigError(f"{name} is published by {offered}, not by {origin!r}")
    if mirror := os.environ.get("NNCLIP_MIRROR"):
        return _mirrored(mirror.rstrip("/"), found, name)
    return found


def _only_source(name: str) -> Source:
    """Of a name that is not in `CATALOGUE`."""
    if "://" in name:
        return _from_url(name)
    if name.startswith(HUB):
        if not _REPOSITORY.fullmatch(name.removeprefix(HUB)):
            raise ConfigError(
                f"found {name!r}, expected {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION"
            )
        return Source("hub", name)
    if is_open_clip(name):
        one = open_clip_weights(name)
        pixels = shared_resolution(one)
        return Source("hub", HUB + one.repository, settings=one.settings, resolution=pixels)
    raise ConfigError(
        f"found no published weights named {name!r}, expected one of {', '.join(CATALOGUE)}, "
        "open_clip's MODEL:TAG such as ViT-B-16-SigLIP2:webli (`nnclip models` lists them), "
        f"{HUB}OWNER/NAME or an http(s) address"
    )


def _mirrored(mirror: str, found: tuple[Source, ...], name: str) -> tuple[Source, ...]:
    """These sources on one server, each file once."""
    files = {s.file_name: s for s in reversed(found) if s.repository is None}
    if not files:
        raise ConfigError(
            f"{name}: found NNCLIP_MIRROR={mirror} and repositories of the hub, expected files; "
            "unset it, and let HF_ENDPOINT name a mirror of the hub"
        )
    there = [s for s in found if files.get(s.file_name) is s]
    return tuple(replace(s, url=f"{mirror}/{s.file_name}") for s in there)


def _from_url(url: str) -> Source:
    # two addresses may end in the same file name: each gets its own folder
    source = Source("url-" + hashlib.sha256(url.encode()).hexdigest()[:12], url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"found the address {url}, expected one that starts with http(s)://")
    if not (source.is_foreign or source.file_name.endswith(".h5")):
        raise ConfigError(
            f"found the address {url}, expected it to end in .h5 or {', '.join(FOREIGN_SUFFIXES)}"
        )
    return source
