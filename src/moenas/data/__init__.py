"""Manifests, sources, splits, the image cache."""
