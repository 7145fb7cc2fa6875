"""Embeddings of images on disk, and search in them. `ImageSearch` is the face."""

from nnclip.search.image_search import ImageSearch

__all__ = ["ImageSearch"]
