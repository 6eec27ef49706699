"""What everything that lives long stands on: files that survive a power cut, and the clock.

| module | what it holds |
|---|---|
| durable_file | a file that takes the place of another as a whole |
| clock | the instant that it is now |
"""
