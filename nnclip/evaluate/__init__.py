"""Measures any model: zero-shot classification, retrieval, linear probes, attacks, bias, figures.

Evaluators take two callables and never a model:

    embed_images(images or paths) -> (N, E) float32, rows of unit length
    embed_texts(texts)              -> (M, E) float32, rows of unit length
"""
