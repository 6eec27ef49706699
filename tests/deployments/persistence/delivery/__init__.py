"""Mirrors deployments/persistence/delivery."""
