"""HTTP over plain objects. No route knows Ray, SQL or a file.

| module | what it holds |
|---|---|
| application | create_api: routes, errors and documentation put together |
| schedules | the routes of schedules: made, judged, read back, explained, compared |
| plans | those of the plan in force, of releases, pictures and files |
| rollout | those of the rollout, and of the policies in it |
| access | those of sessions, and of the audit trail |
| probes | whether the service lives, is ready and is well; how requests meet its end |
| dependencies | what a route depends on: the services, who calls; how an answer is written |
| services | what stands behind the routes, as plain objects and ports |
| problems | every error -> problem details |
| middleware | the layers around all routes: request ids and log lines, bounded bodies, headers for browsers |
| documentation | the OpenAPI document and the page that shows it; the files of the console |
| __main__ | writes docs/openapi.json |
"""

from deployments.api.application import create_api
from deployments.api.services import Decisions, HealthProbe, HealthReport, Services

__all__ = ["Decisions", "HealthProbe", "HealthReport", "Services", "create_api"]
