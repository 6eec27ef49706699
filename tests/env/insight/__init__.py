"""Mirrors env/insight."""
