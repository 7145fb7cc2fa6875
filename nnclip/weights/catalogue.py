"""Published weights: which names there are, where their files lie and what their hashes are."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from nnclip.errors import ConfigError

ZENODO = "https://zenodo.org/records/16973930/files"
NNABLA = "https://nnabla.org/pretrained-models/nnabla-examples/vision-and-language/clip"
OPENAI = "https://openaipublic.azureedge.net/clip/models"
HUB = "hf-hub:"  # how the address of a repository of the Hugging Face hub begins

FOREIGN_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


@dataclass(frozen=True)
class Source:
    """One place where weights are published.

    Attributes:
        origin: who published them there; also its folder in the cache.
        url: where they lie: the address of a file, or `hf-hub:OWNER/NAME`.
        sha256: of the file, where one is published.
    """

    origin: str
    url: str
    sha256: str | None = None

    @property
    def repository(self) -> str | None:
        """OWNER/NAME on the hub; None of an address."""
        return self.url.removeprefix(HUB) if self.url.startswith(HUB) else None

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def weights_name(self) -> str:
        """What the .h5 is called in the cache."""
        stem = self.file_name if self.repository else PurePosixPath(self.file_name).stem
        return f"{stem}.h5"

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


def sources(name_or_url: str, origin: str | None = None) -> tuple[Source, ...]:
    """Where `name_or_url` can be had, the preferred place first.

    Args:
        name_or_url: a name of `CATALOGUE`, or the address of a file of weights.
        origin: only what lies there, one of `ORIGINS`.

    The environment variable NNCLIP_MIRROR names a server that holds all published files side by
    side; then nobody else is asked. The hub's mirror is HF_ENDPOINT.

    Raises:
        ConfigError: no such name, nothing of that origin, or an address of something else.
    """
    if "://" in name_or_url:
        return (_from_url(name_or_url),)
    if name_or_url not in CATALOGUE:
        raise ConfigError(
            f"found no published weights named {name_or_url!r}, expected one of "
            f"{', '.join(CATALOGUE)}, or an http(s) address"
        )
    found = tuple(s for s in CATALOGUE[name_or_url] if origin in (None, s.origin))
    if not found:
        offered = ", ".join(s.origin for s in CATALOGUE[name_or_url])
        raise ConfigError(f"{name_or_url} is published by {offered}, not by {origin!r}")
    if mirror := os.environ.get("NNCLIP_MIRROR"):
        return _mirrored(mirror.rstrip("/"), found, name_or_url)
    return found


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
