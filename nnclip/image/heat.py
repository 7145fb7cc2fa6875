"""A map over an image in colours, for figures and for the page.

Axes: G places along a side, R pixels along a side.
"""

import numpy as np
from PIL import Image

# viridis: light and dark differ, too, so that it reads without colours
COLOURS = (
    "440154", "481a6c", "472f7d", "414487", "39568c", "31688e", "2a788e", "23888e", "1f988b",
    "22a884", "35b779", "54c568", "7ad151", "a5db36", "d2e21b", "fde725",
)  # fmt: skip
OPAQUE = 0.75  # where a map is highest


def heat(map_GG: np.ndarray, side: int) -> Image.Image:
    """A map to lay over an image: RGBA, (side, side), clear where it is lowest.

    Args:
        map_GG: of any unit; its own lowest and highest place are the ends of the colours.
        side: R.
    """
    low, high = float(map_GG.min()), float(map_GG.max())
    scaled = (map_GG - low) / (high - low) if high > low else np.zeros_like(map_GG)
    smooth = Image.fromarray(scaled.astype("f4")).resize((side, side), Image.Resampling.BICUBIC)
    share_RR = np.clip(np.asarray(smooth), 0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    table = np.array([tuple(bytes.fromhex(colour)) for colour in COLOURS], float)
    channels = [np.interp(share_RR, steps, table[:, channel]) for channel in range(3)]
    levels_RR4 = np.stack([*channels, 255 * OPAQUE * share_RR], axis=-1)
    return Image.fromarray(np.round(levels_RR4).astype(np.uint8))
