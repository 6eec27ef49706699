"""Mirrors deployments/persistence/decisions."""
