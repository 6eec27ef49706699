"""The report of a rollout.

| module | what it holds |
|---|---|
| trends | figures over time, and by kinds of lists |
| report | all figures, from stored rows to plain data |
| arm_figures | what each arm planned, and what really happened |
| goals | the user's targets and how they stand |
| page, tables | one self-contained HTML page |
"""
