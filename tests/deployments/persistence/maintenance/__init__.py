"""Mirrors deployments/persistence/maintenance."""
