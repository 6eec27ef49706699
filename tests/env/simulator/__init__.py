"""Mirrors env/simulator."""
