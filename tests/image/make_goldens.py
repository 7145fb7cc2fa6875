"""Makes goldens.npz: small image files, and what OpenAI's torchvision pipeline makes of them.

Run it from the repository root, with requirements-dev.txt installed:
    python tests/image/make_goldens.py
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

RESOLUTION = 7
GOLDENS = Path(__file__).parent / "goldens.npz"


def pipeline(resolution: int) -> Compose:
    """OpenAI's transform, from its published description."""
    return Compose(
        [
            Resize(resolution, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(resolution),
            lambda image: image.convert("RGB"),
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )


def waves(width: int, height: int, channels: int) -> Image.Image:
    """A smooth coloured pattern; every channel, alpha included, has its own frequency."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    values = 127.5 + 127.5 * np.sin(x / (1.5 + c) + y / (4.0 - c / 2) + c)
    return Image.fromarray(values.astype(np.uint8).squeeze())


def file_of(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    """The bytes of a file of a lossless format."""
    file = BytesIO()
    image.save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def files() -> dict[str, np.ndarray]:
    """One small file for each kind of image that is treated in its own way."""
    rgb, rgba, grey = waves(13, 10, 3), waves(13, 10, 4), waves(13, 10, 1)
    lying = Image.Exif()
    lying[0x0112] = 6  # to be turned by 90 degrees
    palette = rgb.quantize(16)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 2)
    return {
        "rgb": file_of(rgb, "PNG"),
        "odd_portrait": file_of(waves(11, 16, 3), "PNG"),
        "floored": file_of(waves(14, 10, 3), "PNG"),  # 9.8 pixels wide become 9
        "narrow": file_of(waves(3, 40, 3), "PNG"),
        "wide": file_of(waves(40, 3, 3), "PNG"),
        "one_pixel": file_of(waves(1, 1, 3), "PNG"),
        "exact_size": file_of(waves(7, 7, 3), "PNG"),
        "rgba": file_of(rgba, "PNG"),
        "grey": file_of(grey, "PNG"),
        "grey_alpha": file_of(rgba.convert("LA"), "PNG"),
        "palette": file_of(palette, "PNG"),
        "palette_transparent": file_of(palette, "PNG", transparency=3),
        "one_bit": file_of(grey.convert("1"), "PNG"),
        "sixteen_bit": file_of(deep, "PNG"),
        "cmyk": file_of(rgb.convert("CMYK"), "TIFF"),
        "exif_rotated": file_of(rgb, "PNG", exif=lying),
        "animated": file_of(palette, "GIF", save_all=True, append_images=[waves(13, 10, 3)]),
    }


def main() -> None:
    """Write `NAME.file` and `NAME.expected` for every image."""
    arrays = {}
    for name, content in files().items():
        arrays[f"{name}.file"] = content
        image = Image.open(BytesIO(content.tobytes()))
        arrays[f"{name}.expected"] = pipeline(RESOLUTION)(image).numpy()
    np.savez_compressed(GOLDENS, **arrays)
    print(f"{GOLDENS}: {len(files())} images, {GOLDENS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
