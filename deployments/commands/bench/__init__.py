"""`gantry bench`: how good schedules are and how long they take, beside others.

| module | what it holds |
|---|---|
| benchmark_sets | public benchmarks, workloads, and our own plants; the makespans to beat |
| quality, speed | the measurements; the documents that are made of them |
"""
