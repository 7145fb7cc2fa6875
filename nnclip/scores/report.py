"""A report on scored pairs: one HTML file with the best and the worst to look at."""

import base64
import logging
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.image import open_image
from nnclip.scores.table import Scores
from nnclip.search.writing import write_text
from nnclip.sources import stored_bytes
from nnclip.training.data.pairs import Pair

logger = logging.getLogger(__name__)

SHOWN = 24  # pairs of a part
SIDE = 240  # pixels of a thumbnail
BINS, WIDE, HIGH = 60, 720, 160  # of the histogram
_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root{{color-scheme:light dark;--soft:#8883;
--ink:#1f2933;--ground:#fff;--bar:#0072b2;--cut:#b35900}}
@media(prefers-color-scheme:dark){{:root{{
--ink:#e4e7eb;--ground:#14181d;--bar:#56b4e9;--cut:#e69f00}}}}
body{{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;padding:0 1rem;max-width:75rem;
color:var(--ink);background:var(--ground)}}
h1{{font-size:1.4rem}}h2{{font-size:1.1rem;margin:2rem 0 .3rem}}p{{margin:.3rem 0}}
svg{{width:100%;max-width:45rem;height:auto}}svg text{{fill:var(--ink);font-size:12px}}
ul{{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.9rem;padding:0}}
li{{list-style:none;min-width:0}}
img{{width:100%;aspect-ratio:1;object-fit:contain;background:var(--soft);border-radius:4px}}
li p{{overflow-wrap:anywhere;font-size:.9rem;line-height:1.3}}
small{{opacity:.8}}b{{font-variant-numeric:tabular-nums}}
</style>
"""


def write_report(
    path: Path, title: str, scores: Scores, by: str, kept: np.ndarray | None = None
) -> None:
    """Write the report.

    Args:
        path: of the HTML file.
        title: over all.
        scores: all pairs.
        by: the measure by which they are sorted.
        kept: (P,) bool, what a filter keeps; None without one.

    Raises:
        DataError: the file cannot be written.
    """
    values = scores.measure(by)
    order = np.argsort(values, kind="stable")
    order = order[~np.isnan(values[order])]
    parts = [_HEAD.format(title=escape(title)), f"<h1>{escape(title)}</h1>"]
    readable = len(order)
    parts.append(f"<p>{len(scores):,} pairs, {len(scores) - readable:,} of them unreadable.</p>")
    cut = None
    if kept is not None:
        cut = float(values[kept].min())
        parts.append(f"<p>{int(kept.sum()):,} are kept, from {by} {cut:.3f} on.</p>")
    parts.append(_histogram(values[order], by, cut))
    parts.append(_part("The best", scores, values, order[::-1][:SHOWN]))
    parts.append(_part("The worst", scores, values, order[:SHOWN]))
    if cut is not None:
        at = int(np.searchsorted(values[order], cut))
        half = SHOWN // 2
        parts.append(_part("The last that are kept", scores, values, order[at:][:half]))
        parts.append(_part("Just below", scores, values, order[:at][-half:][::-1]))
    near = [number for number, name in enumerate(scores.near) if name]
    parts.append(_part("Near-duplicates", scores, values, near[:SHOWN], len(near)))
    written = np.flatnonzero(scores.text_only).tolist()
    title = "Writing alone (rough)"
    parts.append(_part(title, scores, values, written[:SHOWN], len(written)))
    write_text(path, "".join(parts) + "</html>\n")


def _part(
    title: str, scores: Scores, values: np.ndarray, numbers: Sequence[int], of: int | None = None
) -> str:
    if not len(numbers):
        return ""
    said = f" <small>{len(numbers)} of {of:,}</small>" if of is not None else ""
    figures = "".join(_figure(scores, float(values[n]), int(n)) for n in numbers)
    return f"<h2>{title}{said}</h2><ul>{figures}</ul>"


def _figure(scores: Scores, value: float, number: int) -> str:
    pair = scores.pairs[number]
    source = _thumbnail(pair)
    image = f'<img src="{source}" alt="" loading="lazy">' if source else "cannot be read"
    near = scores.near[number]
    like = f"<p><small>near {escape(shown(Path(near).name))}</small></p>" if near else ""
    return (
        f'<li title="{escape(shown(pair.name))}">{image}<p><b>{value:.3f}</b> '
        f"{escape(shown(pair.captions[0]))}</p>{like}</li>"
    )


def _thumbnail(pair: Pair) -> str:
    """A data: URI; "" if the image cannot be read."""
    try:
        image = open_image(stored_bytes(pair)[0], side=SIDE, of="longest", name=pair.name)
    except DataError as error:
        logger.warning("%s", error)
        return ""
    image.thumbnail((SIDE, SIDE))
    sink = BytesIO()
    image.convert("RGB").save(sink, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()


def _histogram(values: np.ndarray, by: str, cut: float | None) -> str:
    """Bars as SVG, with the place where the filter cuts."""
    counts, edges = np.histogram(values, BINS)
    low, span = float(edges[0]), max(float(edges[-1] - edges[0]), 1e-9)
    width = WIDE / BINS
    bars = "".join(
        f'<rect x="{n * width:.1f}" y="{HIGH * (1 - count / counts.max()):.1f}" '
        f'width="{width - 1:.1f}" height="{HIGH * count / counts.max():.1f}" fill="var(--bar)"/>'
        for n, count in enumerate(counts)
        if count
    )
    if cut is not None:
        at = WIDE * (cut - low) / span
        bars += f'<path d="M{at:.1f} 0V{HIGH}" stroke="var(--cut)" stroke-width="2.5"/>'
    marks = "".join(
        f'<text x="{WIDE * share:.0f}" y="{HIGH + 16}" text-anchor="{anchor}">'
        f"{low + share * span:.3f}</text>"
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH + 22}" role="img" aria-label="how many pairs have which '
        f'{by}">{bars}{marks}</svg>'
    )
