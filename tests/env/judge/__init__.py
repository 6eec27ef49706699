"""Mirrors env/judge."""
