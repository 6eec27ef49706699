"""Plant data: machines, pending jobs, calendars.

| module | what it holds |
|---|---|
| files | from CSV, XLSX and JSON files, checked line by line |
| sheets | the rows of CSV and XLSX files, and how their faults are told |
| stored | from the database, for requests that leave them to it |
| completion | such requests completed |
"""
