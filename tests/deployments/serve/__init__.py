"""Mirrors deployments/serve."""
