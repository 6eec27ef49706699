"""What everything that lives long stands on: the clock.

| module | what it holds |
|---|---|
| clock | the instant that it is now |
"""
