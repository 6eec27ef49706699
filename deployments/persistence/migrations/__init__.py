"""The Alembic environment. One DDL statement per revision, because MariaDB commits each by itself."""
