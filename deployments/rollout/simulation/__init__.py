"""Whole rollouts on simulated traffic.

| module | what it holds |
|---|---|
| scenarios | worlds, and what is promised for each |
| simulation | how often rollouts stop for nothing, and how soon for something |
| guardrail_scan | the guardrails over a whole stream at once; proven equal |
"""
