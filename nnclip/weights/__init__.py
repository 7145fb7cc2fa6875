"""Weights on disk: .h5 files, the catalogue of published ones, and their download."""
