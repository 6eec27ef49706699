"""From shadow to full production, with proof: pure rooms, no Ray, no SQL, no clock of their own.

| room | what it holds |
|---|---|
| assignment | a pure function from unit, seed and share to the arm |
| analysis | what outcomes say: intervals, guardrails, whether the experiment is what it was meant to be |
| ramp | the stages: who may serve, what each demands, every way to the next |
| report | all figures of a rollout, as plain data and as one page |
| simulation | whole rollouts on simulated traffic |
| model_registry | policies registered while running |

How the service uses this
- A router acts on `ramp.latch.in_force(state, own_latch)`, and on no state at all unless `ramp.latch.is_fresh(age)`;
  it keeps `ramp.latch.newer(current, fetched)`. What it acts on becomes a `TrafficSplit` by
  `ramp.traffic.traffic_split_of`, where no state means that the planner's rule serves. `TrafficSplit.assign(unit)` is
  the `ArmAssignment` of a request; its `UnitAssignment` is stored with the decision.
- For each evaluation of the challenger it makes an `Evaluation` (`analysis.outcomes.judged_outcome` says how one that
  the judge refuses has ended), and with the champion's a `PairedObservation` by `analysis.outcomes.paired`, or a
  `MissingPair` when the arm that did not serve was to be computed and was not. Some served plans are computed again
  where the other arm is, each of which is a `Recomputation`. `ramp` and `stage` come from the state at assignment
  (`serving_stage`).
- Each event is asked for `analysis.guardrails.one_event_trigger(event)` before it is sent on; a trigger and
  `ramp.latch.latched(...)` give the latch that is in force at once, is written to disk, and is sent with the next
  exchange.
- The controller feeds each event once, in order of arrival, to `Guardrails.observe`, made anew for each ramp, and to
  `WindowComparison.observe`, made anew for other arms, and closes windows as time goes by; `snapshot` keeps both. When
  the guardrails return a trigger, or the evidence shows harm, it calls
  `ramp.stages.rollback` with an `Order` of the actor `GUARDRAIL`, except in shadow, where it only opens an incident:
  the trigger stays and makes the verdict ROLLBACK. A latch that arrives goes through `ramp.latch.roll_back_for`.
- An operator's order goes to `ramp.stages.promote` (with `ramp.gate.judge_gate(state.serving_stage,
  state.seconds_in_stage(now), configuration, evidence, is_paused=...)`, the evidence being that of
  `WindowComparison.evidence`), `pause`, `resume`, `activate` or `rollback`. `ramp.stages.succeed` says which state the
  `Transition` that comes back leads to, and raises `StaleVersion` when it was made for another one, as an outdated
  `expected_version` does; it is in the database before it is in force, a rollback on disk.
- The report: fill `report.report.Records` from stored rows (of the current ramp at least), call
  `report.report.report_of`, answer with `RolloutReport.as_json()` or show `report.page.page_of(report)`; `since` makes
  it weekly. `AssignedUnit` rows come from decisions that were not forced; the gate gets
  `analysis.sample_ratio.audit(...).findings` as `integrity`.
- A controller compares its transitions with those of the database by `ramp.latch.reconcile`, when it starts and ever
  after; `ramp.stages.begin` when nobody knows a state.
"""
