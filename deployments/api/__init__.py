"""HTTP over plain objects. No route knows Ray, SQL or a file.

| room | what it holds |
|---|---|
| application | create_api: routes, errors and documentation put together |
| services | what the routes need, as plain objects and ports |
| routes | one function for each route |
| planners | the routes that answer a planner's questions about decisions |
| feedback | the route by which planners and the shop floor answer back |
| operating | which routes operate the rollout and its models |
| rollout, models | those routes |
| bodies | bounded reading of a body |
| problems | every error -> problem details |
| auditing | who did what beyond scheduling: written, and read |
| body_bounds | no body is larger or slower than allowed |
| security_headers | what a browser must not do with an answer |
| identity | request ids, one log line for each request, the last line of defence |
| documentation | the OpenAPI document and the page that shows it |
"""

from deployments.api.application import create_api
from deployments.api.services import Decisions, HealthProbe, HealthReport, Services

__all__ = ["Decisions", "HealthProbe", "HealthReport", "Services", "create_api"]
