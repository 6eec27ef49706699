"""Mirrors deployments/persistence/integrity."""
