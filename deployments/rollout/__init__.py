"""Which arm a request gets, and why that can be audited.

| room | what it holds |
|---|---|
| assignment | a pure function from unit, seed and share to the arm |
"""
