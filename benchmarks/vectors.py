"""Vectors with the statistics of a real model's embeddings, as many as are wanted.

What is measured on real embeddings (`python benchmarks/vectors.py EMB CSV`: a collection embedded
by the bundled model, and the table with its captions) and what is drawn from that:

- the length of the mean vector: CLIP's embeddings lie in a cone, images and texts in another one;
- the spectrum of the covariance, stretched to more dimensions (or a power law in its place, whose
  long tail makes neighbours harder to find than the bundled model's embeddings do);
- how much of the variance lies between clusters of like images;
- how near a caption is to its own image and to others.

Axes: N rows, K clusters, E embedding.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

PER_CLUSTER = 20  # images of a cluster, on average
KNOTS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160, 192)
ZIPF = 0.6  # some are much larger: the r-th largest is so many times r^-0.6 of the largest
BLOCK = 8192  # rows drawn at once


@dataclass(frozen=True)
class Statistics:
    """What is measured.

    Attributes:
        spectrum: the variances of the covariance's axes number `KNOTS`, of all variance.
        mean: length of the images' mean vector.
        text_mean: of the texts'.
        between_means: cosine of both.
        clustered: share of the images' variance that lies between clusters.
        matched: cosine of a caption and its image, on average.
        unmatched: of a caption and another image.
    """

    spectrum: tuple[float, ...]
    mean: float
    text_mean: float
    between_means: float
    clustered: float
    matched: float
    unmatched: float


def measured(images_NE: np.ndarray, texts_NE: np.ndarray) -> Statistics:
    """The statistics of images and their captions, both of unit length."""
    import faiss

    means = images_NE.mean(axis=0), texts_NE.mean(axis=0)
    lengths = [float(np.linalg.norm(mean)) for mean in means]
    centred = np.ascontiguousarray(images_NE - means[0])
    variances = np.linalg.eigvalsh(np.cov(centred.T))[::-1]
    spectrum = variances[np.array(KNOTS) - 1] / variances.sum()
    clusters = len(images_NE) // PER_CLUSTER
    kmeans = faiss.Kmeans(images_NE.shape[1], clusters, niter=15, seed=1, min_points_per_centroid=1)
    kmeans.train(centred)
    within = kmeans.index.search(centred, 1)[0].mean()
    total = (centred**2).sum(axis=1).mean()
    own = (images_NE * texts_NE).sum(axis=1).mean()
    others = (images_NE * np.roll(texts_NE, 997, axis=0)).sum(axis=1).mean()
    between = means[0] @ means[1] / np.prod(lengths)
    values = (*lengths, between, 1 - within / total, own, others)
    rounded = [round(float(value), 4) for value in values]
    return Statistics(tuple(float(f"{value:.3g}") for value in spectrum), *rounded)


def measured_deviations(spectrum: tuple[float, ...], embed: int) -> np.ndarray:
    """Square roots of the variances along E axes, (E,): the spectrum stretched to so many."""
    ranks = np.arange(1, embed + 1) * KNOTS[-1] / embed
    return np.exp(np.interp(np.log(ranks), np.log(KNOTS), np.log(spectrum)) / 2)


def power_law_deviations(embed: int, decay: float = 1.0) -> np.ndarray:
    """Square roots of variances that fall with the power `decay` of their rank, (E,)."""
    return np.arange(1, embed + 1) ** (-decay / 2)


class Drawn:
    """Images and texts of E numbers, drawn from statistics; the same ones for the same seed."""

    def __init__(
        self, statistics: Statistics, deviations: np.ndarray, rows: int, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self._rng, self._statistics, self.rows = rng, statistics, rows
        embed = len(deviations)
        self._deviations = (deviations / np.linalg.norm(deviations)).astype(np.float32)
        self._turn = np.linalg.qr(rng.standard_normal((embed, embed)))[0].astype(np.float32)
        self._mean = _unit(rng.standard_normal((1, embed), np.float32))[0]
        across = rng.standard_normal(embed).astype(np.float32)
        across = _unit((across - across @ self._mean * self._mean)[None])[0]
        c = statistics.between_means
        self._text_mean = c * self._mean + np.sqrt(1 - c * c) * across
        count = max(2, rows // PER_CLUSTER)
        self._centres_KE = self._normal(count)
        weights = np.arange(1, count + 1) ** -ZIPF
        self._weights = weights / weights.sum()

    def _normal(self, count: int) -> np.ndarray:
        """(count, E) with the covariance, whose trace is 1."""
        shape = (count, len(self._deviations))
        drawn = self._rng.standard_normal(shape, np.float32) * self._deviations
        return drawn @ self._turn

    def pictures(self) -> Iterator[np.ndarray]:
        """All rows, block by block, (n, E) float32 of unit length."""
        s = self._statistics
        for start in range(0, self.rows, BLOCK):
            count = min(BLOCK, self.rows - start)
            own = self._rng.choice(len(self._weights), count, p=self._weights)
            varied = np.sqrt(s.clustered) * self._centres_KE[own]
            varied += np.sqrt(1 - s.clustered) * self._normal(count)
            yield _unit(s.mean * self._mean + np.sqrt(1 - s.mean**2) * varied)

    def texts(self, count: int) -> np.ndarray:
        """(count, E) float32 of unit length, each about the images of one cluster.

        What a text shares with its cluster makes the matched cosine larger than the unmatched one.
        """
        s = self._statistics
        spread = np.sqrt((1 - s.mean**2) * (1 - s.text_mean**2))
        shared = min(1.0, (s.matched - s.unmatched) / (spread * np.sqrt(s.clustered)))
        own = self._rng.choice(len(self._weights), count, p=self._weights)
        about = _unit(self._centres_KE[own])
        varied = shared * about + np.sqrt(1 - shared**2) * _unit(self._normal(count))
        return _unit(s.text_mean * self._text_mean + np.sqrt(1 - s.text_mean**2) * varied)


def _unit(rows_NE: np.ndarray) -> np.ndarray:
    return rows_NE / np.linalg.norm(rows_NE, axis=1, keepdims=True)


def main(folder: str, table: str) -> None:
    """Measure a collection and the captions of its images."""
    from nnclip.clip import CLIP
    from nnclip.search.collection import Collection
    from nnclip.sources import Ask, read_source

    collection, model = Collection(folder), CLIP()
    rows = read_source(table, Ask(captions=True))
    captions = {Path(row.path).name: row.captions[0] for row in rows}
    names = [Path(record["image"]).name for _, record in collection.live()]
    images = np.concatenate([np.asarray(block, np.float32) for block in collection.blocks])
    texts = model.encode_text(model.tokenize([captions[name] for name in names], truncate=True))
    print(json.dumps(asdict(measured(images, _unit(texts)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
