"""Tests mirror the floors: tests/env, tests/models, tests/deployments, and tests/system for real components."""
