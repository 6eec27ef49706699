"""Mirrors deployments/contracts/answers."""
