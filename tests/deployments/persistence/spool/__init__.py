"""Mirrors deployments/persistence/spool."""
