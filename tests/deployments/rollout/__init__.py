"""Mirrors deployments/rollout."""
