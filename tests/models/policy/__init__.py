"""Mirrors models/policy."""
