"""Mirrors deployments/contracts/translation."""
