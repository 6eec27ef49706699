"""Mirrors env/gym."""
