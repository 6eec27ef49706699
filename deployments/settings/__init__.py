"""Where the service runs, and what it promises.

| module | what it holds |
|---|---|
| service | environment variables and `.env`, checked before anything starts |
| near_misses | variables that somebody may have meant for it, and that nothing reads |
| policy_file | goals, anomaly limits and the ramp's numbers: `policy.toml`, and the file that overrides it |
| notify_targets | who is told in words, by URLs of Apprise |
| database_tls | how the way to MariaDB is protected |
| serve_config | `serve_config.yaml`, and the arguments of the application in it |
"""
