"""Tests of the load tests: a goal that cannot be missed proves nothing."""
