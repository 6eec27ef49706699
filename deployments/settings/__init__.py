"""Where the service runs, and what it promises.

| module | what it holds |
|---|---|
| service | environment variables and `.env`, checked before anything starts |
| rollout | the rollout's stages and the goals of its report |
| database_tls | how the way to MariaDB is protected |
| serve_config | `serve_config.yaml`, and the arguments of the application in it |
"""
