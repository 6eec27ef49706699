"""Mirrors models/search."""
