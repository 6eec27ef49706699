"""The schema of what is asked.

| module | what it holds |
|---|---|
| wire | strictness, scalar types, hours <-> seconds |
| schedule_request | the body of `POST /schedule`, its calendar included |
"""
