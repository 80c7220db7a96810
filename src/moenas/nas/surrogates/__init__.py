"""Surrogate models of the objectives."""
