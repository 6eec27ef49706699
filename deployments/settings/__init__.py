"""Where the service runs, and what it promises.

| module | what it holds |
|---|---|
| service | environment variables and `.env`, checked before anything starts |
| near_misses | variables that somebody may have meant for it, and that nothing reads |
| policy_file | goals, anomaly limits and the ramp's numbers: `policy.toml`, and the file that overrides it |
| connections | whom the service connects to: the protected way to MariaDB, and who is told in words |
| serve_config | `serve_config.yaml`, and the arguments of the application in it |
"""
