"""Problems: drawn, and read from files.

| module | what it holds |
|---|---|
| generator | problems from a numpy Generator, and a toy problem with a known optimum |
| readers | benchmark files, read as the one format that fits |
| formats | what a benchmark file says, before it is a problem, and the text formats of job shops |
"""
