"""Mirrors deployments/scheduling."""
