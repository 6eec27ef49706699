"""Mirrors deployments/local_cluster."""
