"""The arm that did not serve, computed and judged outside the request. Knows neither Ray nor SQL.

| module | what it holds |
|---|---|
| queue | the bounded queue, and the router's task that has them computed one at a time |
| evaluation | what is computed of one request |
"""
