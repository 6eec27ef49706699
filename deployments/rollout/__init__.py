"""From shadow to full production, with proof: pure rooms, no Ray, no SQL, no clock of their own.

| room | what it holds |
|---|---|
| assignment | a pure function from unit, seed and share to the arm |
| analysis | what outcomes say: intervals, guardrails, whether the experiment is what it was meant to be |
| ramp | the stages: who may serve, what each demands, every way to the next |
| report | all figures of a rollout, as plain data and as one page |
| simulation | whole rollouts on simulated traffic |
| model_registry | policies registered while running |
| errors | what can be wrong with an order |

How the service uses this
- A router assigns with `RolloutState.assign(unit)` and stores the `Assignment` with the decision. It acts on
  `latch.in_force(state, own_latch)`, and on nothing (champion serves) unless `latch.is_fresh(age)`; it keeps
  `latch.newer(current, fetched)`.
- For each evaluation of the challenger it makes an `Evaluation` (`judged_outcome` for judged ones), and with the
  champion's a `PairedObservation` by `paired`, or a `MissingPair` when the counterfactual was lost. `ramp` and
  `stage` come from the state at assignment (`serving_stage`).
- Before it sends an event on, it asks `guardrails.one_event_trigger(event)`; a trigger and `latch.latched(...)`
  give the latch that it fsyncs at once and sends with the next exchange.
- The controller feeds each event once, in order of arrival, to `Guardrails.observe` and `Comparison.observe`, both
  made anew for each ramp and journalled by `snapshot`. When `observe` returns a trigger it calls
  `stages.rollback` with an `Order` of the actor `GUARDRAIL`, except in shadow, where it only opens an incident: the
  trigger stays and makes the verdict ROLLBACK. A latch that arrives goes through `latch.roll_back_for`.
- An operator's order goes to `promote` (with `gate.judge(state.serving_stage, state.seconds_in_stage(now),
  configuration, comparison.evidence(...), is_paused=...)`), `pause`, `resume`, `rollback`; the `Transition` that
  comes back is written under a unique version, and only then `succeed` makes it the state. Losing that race is
  `StaleVersion`, like an outdated `expected_version`.
- The report: fill `report.Records` from stored rows (of the current ramp at least), call `report_of`, answer with
  `Report.as_json()` or show `report_page.page_of(report)`; `since` makes it weekly. `AssignedUnit` rows come from
  decisions that were not forced; `gate.judge` gets `sample_ratio.audit(...).findings` as `integrity`.
- A starting controller uses `latch.recovered`, and `stages.begin` when nobody knows a state.
"""
