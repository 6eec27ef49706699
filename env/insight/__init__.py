"""Schedules explained.

| module | what it holds |
|---|---|
| explanation | why late work is late: where its time went |
| gantt | a schedule as text and as pixels |
"""
