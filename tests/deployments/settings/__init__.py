"""Mirrors deployments/settings."""
