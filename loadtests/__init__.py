"""Load tests: what plants send (users), how many at a time (shapes), and what must hold (goals).

`python -m loadtests.compare` says what a plan costs in each process, beside other ways to serve the policy.
`python -m loadtests` starts a service of its own and loads it; `locust -f loadtests/locustfile.py --headless --host
http://127.0.0.1:8000` loads one that is there. The exit code says whether every goal was met.
"""
