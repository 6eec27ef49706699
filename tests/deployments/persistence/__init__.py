"""Tests of the spool and the database behind it, on SQLite."""
