"""Mirrors deployments/commands/db."""
