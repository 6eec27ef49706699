"""Mirrors env/instances."""
