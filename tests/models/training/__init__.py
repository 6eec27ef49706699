"""Mirrors models/training."""
