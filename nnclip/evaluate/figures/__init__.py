"""Images of results, for a talk: one function draws one figure, `save` writes it."""

from nnclip.extras import extra

with extra():
    from nnclip.evaluate.figures.style import save

__all__ = ["save"]
