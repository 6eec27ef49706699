"""Mirrors deployments/contracts."""
