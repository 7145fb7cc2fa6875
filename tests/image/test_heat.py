import matplotlib
import numpy as np

from nnclip.image.heat import OPAQUE, heat


def test_a_map_has_the_colours_of_viridis_and_is_clear_where_it_is_lowest():
    ramp = np.linspace(-0.3, 0.9, 64, dtype=np.float32)
    found = np.asarray(heat(np.tile(ramp, (64, 1)), 64))
    wanted = 255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, 64))[:, :3]
    assert found.shape == (64, 64, 4)
    assert np.abs(found[5, :, :3] - wanted).max() < 8
    assert found[5, 0, 3] == 0 and found[5, -1, 3] == round(255 * OPAQUE)


def test_the_highest_place_is_found_again_and_an_even_map_is_clear():
    peak = np.zeros((4, 4), np.float32)
    peak[1, 2] = 1
    row, column = np.unravel_index(np.asarray(heat(peak, 64))[..., 3].argmax(), (64, 64))
    assert (row // 16, column // 16) == (1, 2)
    assert not np.asarray(heat(np.ones((3, 3), np.float32), 9))[..., 3].any()
