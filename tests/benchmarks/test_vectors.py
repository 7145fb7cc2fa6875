"""Drawn vectors have the statistics that they were drawn from."""

import numpy as np
import pytest
from search import BUNDLED
from vectors import KNOTS, Drawn, measured, measured_deviations, power_law_deviations


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Drawn(BUNDLED, measured_deviations(BUNDLED.spectrum, KNOTS[-1]), 8000)


def test_pictures_are_as_the_measured_ones(drawn):
    rows = np.concatenate(list(drawn.pictures()))
    assert rows.shape == (8000, 192) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    found = measured(rows, rows)
    assert found.mean == pytest.approx(BUNDLED.mean, abs=0.05)
    assert found.clustered == pytest.approx(BUNDLED.clustered, abs=0.15)
    ratio = np.array(found.spectrum[:6]) / BUNDLED.spectrum[:6]
    assert (ratio > 0.5).all() and (ratio < 2).all()


def test_texts_are_near_the_pictures_that_they_are_about(drawn):
    rows, texts = np.concatenate(list(drawn.pictures())), drawn.texts(200)
    cosines = texts @ rows.T
    assert cosines.mean() == pytest.approx(BUNDLED.unmatched, abs=0.05)
    assert np.median(cosines.max(axis=1)) > 0.75


def test_a_stretched_spectrum_keeps_its_shape():
    at_knots = measured_deviations(BUNDLED.spectrum, KNOTS[-1])[np.array(KNOTS) - 1] ** 2
    np.testing.assert_allclose(at_knots, BUNDLED.spectrum, rtol=1e-6)
    wide = measured_deviations(BUNDLED.spectrum, 512)
    assert len(wide) == 512 and (np.diff(wide) <= 0).all()
    assert (power_law_deviations(4) ** 2).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
