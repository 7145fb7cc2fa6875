"""Paints a scene: background, shadows, objects; and says which pixels show which object."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from nnclip.drawing.backgrounds import PAINTERS
from nnclip.drawing.brushes import RGB
from nnclip.drawing.catalogue import Shape
from nnclip.drawing.glyphs import emoji_picture, mean_colour, shape_picture
from nnclip.drawing.scene import Item, Scene
from nnclip.drawing.styles import EFFECTS, ground

NEAR = 120.0  # distance in RGB below which an object gets a white rim to stand out


def paint(scene: Scene, size: int) -> Image.Image:
    """The scene as an RGB image of `size` pixels square."""
    return paint_masked(scene, size)[0]


def paint_masked(scene: Scene, size: int) -> tuple[Image.Image, np.ndarray]:
    """The scene as `paint` paints it, and what each pixel shows.

    Returns:
        The image, and (size, size) uint8: 0 for the background, 1 for the first object, ...
    """
    picture = _ground(scene, size)
    shown = Image.new("L", (size, size))
    for number, item in enumerate(scene.items):
        stamp, left, top = _placed(picture, scene, item, f"item {number}")
        if not scene.style:
            _cast_shadow(picture, stamp, left, top, max(size * 0.015, 1))
        picture.paste(stamp, (left, top), stamp)
        opaque = stamp.getchannel("A").point(lambda a: 255 * (a > 127))
        shown.paste(number + 1, (left, top), opaque)
    if scene.style:
        picture = EFFECTS[scene.style](picture, scene.random("style"))
    return picture, np.asarray(shown)


def _ground(scene: Scene, size: int) -> Image.Image:
    random = scene.random("background")
    if scene.style:
        return Image.new("RGB", (size, size), ground(random, mean_colour(scene.items[0].glyph)))
    # painted at twice the size: ImageDraw's edges are not smooth
    return PAINTERS[scene.background](random, 2 * size).reduce(2)


def _placed(
    picture: Image.Image, scene: Scene, item: Item, purpose: str
) -> tuple[Image.Image, int, int]:
    """One object, and where its left upper corner goes in `picture`."""
    size = picture.width
    side = max(round(item.extent * size), 4)
    if isinstance(item.what, Shape):
        random = scene.random(purpose)
        stamp, colour = shape_picture(random, item.what.colour, item.what.shape, side)
    else:
        colour = mean_colour(item.glyph)
        stamp = _fitted(item.glyph, side)
    stamp = ImageOps.expand(stamp, 2)  # for smooth edges where it was cut
    stamp = stamp.rotate(item.turn, Image.Resampling.BICUBIC, expand=True)
    left = round(item.at[0] * size - stamp.width / 2)
    top = round(item.at[1] * size - stamp.height / 2)
    rim = max(round(size * 0.022), 1)
    near = not scene.style and _distance(picture, left, top, stamp, colour) < NEAR
    if item.rim or near:
        return _with_rim(stamp, rim), left - rim, top - rim
    return stamp, left, top


def _fitted(glyph: str, side: int) -> Image.Image:
    """An emoji whose longer side is `side`."""
    stamp = emoji_picture(glyph)
    scale = side / max(stamp.size)
    wide, high = (max(round(length * scale), 1) for length in stamp.size)
    return stamp.resize((wide, high), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _distance(picture: Image.Image, left: int, top: int, stamp: Image.Image, colour: RGB) -> float:
    """How far an object's mean colour is from that of the ground behind it."""
    ground = picture.crop((left, top, left + stamp.width, top + stamp.height)).resize((1, 1))
    behind = np.asarray(ground, dtype=np.float32)[0, 0]
    return float(np.linalg.norm(behind - np.asarray(colour, dtype=np.float32)))


def _with_rim(stamp: Image.Image, rim: int) -> Image.Image:
    """The object as a sticker: a white outline `rim` pixels wide on every side."""
    larger = Image.new("RGBA", (stamp.width + 2 * rim, stamp.height + 2 * rim), (255, 255, 255, 0))
    alpha = Image.new("L", larger.size)
    alpha.paste(stamp.getchannel("A"), (rim, rim))
    grown = alpha.filter(ImageFilter.GaussianBlur(rim / 1.6)).point(lambda a: min(255, a * 5))
    sheet = Image.new("RGBA", larger.size, (255, 255, 255, 255))
    sheet.putalpha(grown)
    larger.paste(stamp, (rim, rim))
    return Image.alpha_composite(sheet, larger)


def _cast_shadow(picture: Image.Image, stamp: Image.Image, left: int, top: int, by: float) -> None:
    """Darken the ground a little below and around the object."""
    reach = max(round(by * 2), 1)
    shadow = Image.new("L", (stamp.width + 2 * reach, stamp.height + 2 * reach))
    shadow.paste(stamp.getchannel("A").point(lambda a: a * 0.38), (reach, reach))
    shadow = shadow.filter(ImageFilter.BoxBlur(by))
    picture.paste((10, 10, 20), (left - reach, top - reach + round(by)), shadow)
