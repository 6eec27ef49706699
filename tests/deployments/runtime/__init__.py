"""Mirrors deployments/runtime."""
