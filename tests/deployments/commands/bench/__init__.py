"""Mirrors deployments/commands/bench."""
