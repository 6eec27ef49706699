"""Mirrors deployments/contracts/requests."""
