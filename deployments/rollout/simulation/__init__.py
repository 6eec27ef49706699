"""Whole rollouts on simulated traffic.

| module | what it holds |
|---|---|
| simulation | requests one by one: worlds, what is promised for each, how often rollouts stop for nothing |
| guardrail_scan | the guardrails over a whole stream at once; proven equal |
| window_worlds | windows: worlds of days that are alike, and the whole policy in them |
| characteristics | what the statistics do in known worlds, beside what was specified |
"""
