"""Mirrors models/benchmark."""
