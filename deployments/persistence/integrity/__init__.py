"""Payloads that are not what was promised.

| module | what it holds |
|---|---|
| events | what was found, and who is told |
| sampling | the background sample of stored decisions |
"""
