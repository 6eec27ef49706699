"""Mirrors deployments/rollout/report."""
