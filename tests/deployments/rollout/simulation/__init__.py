"""Mirrors deployments/rollout/simulation."""
