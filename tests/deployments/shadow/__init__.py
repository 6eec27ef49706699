"""Mirrors deployments/shadow."""
