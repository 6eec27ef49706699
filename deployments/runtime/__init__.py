"""What everything that lives long stands on: tasks beside the requests, files that survive a power cut, the clock.

| module | what it holds |
|---|---|
| background | rounds that go on until stopped, tasks that nobody waits for, threads for one purpose |
| worker_process | a process of low priority that is replaced when it fails |
| durable_file | a file that takes the place of another as a whole; what dead processes left half done |
| clock | the instant that it is now |
| metrics | what is counted and measured, and who is told |
| shared_count | a number of each process of a machine, and their sum |
"""
