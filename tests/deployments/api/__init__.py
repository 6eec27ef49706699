"""Mirrors deployments/api."""
