"""What a pair's captions become before they are tokenised."""

from dataclasses import dataclass

from nnclip.text.prompts import fill
from nnclip.training.data.pairs import CAPTION, TEMPLATE, WORDS, Draw, Pair


@dataclass(frozen=True)
class Captions:
    """How the caption of a draw is made.

    Attributes:
        templates: texts with a `{}`, of which one, drawn at random, the caption goes into; none
            leaves it as it is.
        dropout: share of a caption's words that are left out; one always stays.
    """

    templates: tuple[str, ...] = ()
    dropout: float = 0.0

    def __call__(self, pair: Pair, draw: Draw) -> str:
        """The text that the model reads, the same on every rank and in every run."""
        caption = pair.captions[choice(pair, draw)]
        if self.dropout:
            caption = self._thinned(caption, draw)
        if self.templates:
            at = draw.rng(TEMPLATE).integers(len(self.templates)) if len(self.templates) > 1 else 0
            caption = fill(self.templates[at], caption)[0][0]
        return caption

    def _thinned(self, caption: str, draw: Draw) -> str:
        words, rng = caption.split(), draw.rng(WORDS)
        stays = rng.uniform(size=len(words)) >= self.dropout
        stays[rng.integers(len(words))] = True
        return " ".join(word for word, kept in zip(words, stays, strict=True) if kept)


def choice(pair: Pair, draw: Draw) -> int:
    """Which of a pair's captions a draw uses."""
    if len(pair.captions) == 1:
        return 0
    return int(draw.rng(CAPTION).integers(len(pair.captions)))
