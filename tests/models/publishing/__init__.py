"""Mirrors models/publishing."""
