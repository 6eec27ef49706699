"""Tests on real MariaDB, real Ray Serve and real processes."""
