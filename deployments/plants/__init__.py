"""Plant data: machines, pending jobs, calendars.

| module | what it holds |
|---|---|
| files | from CSV and JSON files, checked line by line |
| stored | from the database, for requests that leave them to it |
| completion | such requests completed |
"""
