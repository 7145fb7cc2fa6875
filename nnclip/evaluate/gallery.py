"""Which figures belong to which result: chooses the examples, draws, saves."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from nnclip.evaluate.bias import Bias
from nnclip.evaluate.captioned import CaptionedImages, Place
from nnclip.evaluate.embedding import Embedded
from nnclip.evaluate.figures import save
from nnclip.evaluate.figures.answers import (
    calibration_figure,
    classes_figure,
    heat_map_figure,
    probabilities_figure,
)
from nnclip.evaluate.figures.few import shots_figure
from nnclip.evaluate.figures.groups import attack_figure, bias_figure
from nnclip.evaluate.figures.search import NEAREST, nearest_figure
from nnclip.evaluate.figures.training import curves_figure, read_curves, samples_figure
from nnclip.evaluate.labelled import LabelledImages
from nnclip.evaluate.typographic import Attack, write_word
from nnclip.evaluate.zero_shot import Classification
from nnclip.sources import open_stored

PAGE = 8  # images with bars on one sheet
ACROSS = 9  # images of a heat map
QUERIES = 4
EXAMPLES = 3  # of an attack


def some(count: int, wanted: int) -> list[int]:
    """Up to `wanted` different indices below `count`, the same ones every time, in order."""
    return sorted(Random(0).sample(range(count), min(wanted, count)))


def classification_figures(
    folder: Path, answers: Classification, data: LabelledImages, found: Embedded
) -> list[Path]:
    """Answers beside some images, calibration, recall of the classes."""
    rows = some(len(answers.labels), PAGE)
    images = [open_stored(data.sources[found.kept[row]]) for row in rows]
    truth = [int(answers.labels[row]) for row in rows]
    page = probabilities_figure(images, answers.probabilities[rows], answers.classes, truth)
    return [
        save(page, folder, "answers"),
        save(calibration_figure(answers), folder, "calibration"),
        save(classes_figure(answers), folder, "classes"),
    ]


def retrieval_figures(
    folder: Path,
    data: CaptionedImages,
    found: Embedded,
    texts: np.ndarray,
    all_paths: Sequence[Place],
) -> list[Path]:
    """For some captions: the five nearest images, the true one, the histogram.

    Args:
        folder: where to.
        data: the readable images and their captions.
        found: the embedded images.
        texts: the embedded captions of `data`.
        all_paths: the images that `found.kept` counts.
    """
    row_of = {all_paths[index]: row for row, index in enumerate(found.kept)}
    paths = {row: path for path, row in row_of.items()}
    written = []
    for number, query in enumerate(some(len(data.texts), QUERIES), 1):
        similarities = found.rows @ texts[query]
        order = np.argsort(-similarities, kind="stable")
        true_path = data.paths[data.image_of_text[query]]
        true_row = row_of[true_path]
        place = int(np.flatnonzero(order == true_row)[0])
        best = order[:NEAREST]
        figure = nearest_figure(
            data.texts[query],
            [open_stored(paths[row]) for row in best],
            similarities[best].tolist(),
            open_stored(true_path),
            place + 1,
            similarities,
            float(similarities[true_row]),
            place if place < NEAREST else None,
        )
        written.append(save(figure, folder, f"nearest-{number}"))
    return written


def typographic_figures(
    folder: Path, attack: Attack, data: LabelledImages, found: Embedded
) -> list[Path]:
    """The drop, and images that show it: first those that the word turned."""
    right = attack.clean.predicted == attack.clean.labels
    turned = right & (attack.attacked.predicted == attack.written)
    order = np.lexsort((np.arange(len(right)), ~right, ~turned))  # turned first, then right ones
    rows = order[:EXAMPLES].tolist()
    clean = [open_stored(data.sources[found.kept[row]]) for row in rows]
    names = [data.classes[attack.written[row]] for row in rows]
    attacked = [write_word(image, name) for image, name in zip(clean, names, strict=True)]
    return [save(attack_figure(attack, clean, attacked, rows), folder, "typographic-attack")]


def bias_figures(folder: Path, bias: Bias, data: LabelledImages, found: Embedded) -> list[Path]:
    """The captions' probabilities for each group."""
    first = [int(np.flatnonzero(bias.group_of_image == g)[0]) for g in range(len(bias.groups))]
    images = [open_stored(data.sources[found.kept[row]]) for row in first]
    return [save(bias_figure(bias, images), folder, "bias")]


def prediction_figures(
    folder: Path,
    images: Sequence[Image.Image],
    similarities: np.ndarray,
    probabilities: np.ndarray,
    texts: Sequence[str],
) -> list[Path]:
    """Pages of images with the probabilities of the texts, and a heat map of the first."""
    starts = range(0, len(images), PAGE)
    written = []
    for number, start in enumerate(starts, 1):
        part = slice(start, start + PAGE)
        figure = probabilities_figure(images[part], probabilities[part], texts)
        written.append(save(figure, folder, f"probabilities-{number}"))
    best = similarities[:ACROSS].max(0)
    shown = sorted(np.argsort(-best, kind="stable")[:ACROSS].tolist())
    names = [texts[j] for j in shown]
    figure = heat_map_figure(images[:ACROSS], similarities[:ACROSS][:, shown], names)
    return [*written, save(figure, folder, "heat-map")]


def few_shot_figures(folder: Path, metrics: dict[str, float]) -> list[Path]:
    """Accuracy over the number of shots."""
    return [save(shots_figure(metrics), folder, "shots")]


def training_figures(folder: Path, run: Path, data: CaptionedImages | None) -> list[Path]:
    """A run's curves and, if `data` is given, some of its pairs.

    Raises:
        DataError: no log in the run's folder, or an image that cannot be read.
    """
    written = [save(curves_figure(read_curves(run)), folder, "curves")]
    if data is not None:
        rows = some(len(data.texts), 18)
        images = [open_stored(data.paths[data.image_of_text[row]]) for row in rows]
        figure = samples_figure(images, [data.texts[row] for row in rows])
        written.append(save(figure, folder, "samples"))
    return written
