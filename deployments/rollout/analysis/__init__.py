"""What outcomes say, and how surely.

| module | what it holds |
|---|---|
| outcomes | one evaluation of an arm, one pair of them, what they can end as and are compared by |
| confidence | intervals that hold at every moment: windows, means and rates |
| triggers | limits of the guardrails, a reading of a rule, the trigger that rolls back |
| guardrail_rules | the rules of crashes, completion and makespan, and how sure the last pairs are |
| guardrails | all of them together, fed event by event |
| windows | the unit of analysis: a plant, a line and a day, and the groups of its lists |
| e_processes | evidence over windows, and the rules beside it: tail and strata |
| margins | other key figures: by how much they may be worse, and what the windows say of that |
| recomputations | whether both arms are computed alike: served plans that are computed again |
| regression | what one arm changes about what happened, by what both have planned |
| sample_ratio | whether the experiment is what it was meant to be: split, exposure, buckets, lost pairs |
"""
