"""Mirrors deployments/rollout/ramp."""
