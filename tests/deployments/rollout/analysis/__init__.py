"""Mirrors deployments/rollout/analysis."""
