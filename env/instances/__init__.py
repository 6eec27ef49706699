"""Problems: drawn, and read from files.

| module | what it holds |
|---|---|
| generator | problems from a numpy Generator, and a toy problem with a known optimum |
| readers | readers of .fjs and .jsp files |
"""
