"""Mirrors deployments/commands/rollout."""
