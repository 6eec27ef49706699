"""The judge: the only one who may call a schedule valid. Shares no code with whatever proposes one.

| module | what it holds |
|---|---|
| judge | violations, anomalies and measures of a schedule |
| case | a schedule beside what it is held to, looked up once |
| rules | the rules of one piece of work, and of work beside other work |
| calendar | when machines are open, by the judge's own zone arithmetic |
| verdict | violations, anomalies, the verdict that is derived from them; amounts and instants as planners read them |
| bound | a lower bound of the makespan: how short a plan could be at best |
| anomalies | what is suspicious about a schedule that may well be valid |
"""
