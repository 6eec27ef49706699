"""The arm that did not serve, computed and judged outside the request. Knows neither Ray nor SQL.

| module | what it holds |
|---|---|
| queue | what is computed of one request; the bounded queue, and the router's task that has them computed in turn |
"""
