"""The stages of a rollout.

| module | what it holds |
|---|---|
| state | what each stage demands; the state, orders and the rows of the trail, as data |
| stages | every way from one state to the next |
| traffic | who may serve, as one router knows it at one moment |
| comparison | challenger against champion by windows, and what is lost: the evidence for the gate |
| gate | the verdict PROMOTE, HOLD, FUTILE, ROLLBACK, INVALID or COMPLETE, and why |
| latch | a rollback that one router decides alone; who knows the newest state after a restart |
"""
