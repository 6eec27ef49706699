"""Mirrors deployments/plants."""
