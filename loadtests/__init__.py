"""Load tests: what plants send (users), how many at a time (shapes), and what must hold (goals).

Run against a service that is ready: `locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000`.
The exit code says whether every goal was met.
"""
