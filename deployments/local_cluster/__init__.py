"""One Ray Serve instance on this machine, from nothing to nothing.

| module | what it holds |
|---|---|
| service | what `gantry serve` does, in order: check, compile, start, say where, wait, drain, end |
| cluster | Ray and Serve: started, asked how they do, ended |
| processes | child processes, the record of them for the next start, and the ports that they listen on |
| proxy | HAProxy as Ray starts it, corrected |
"""
