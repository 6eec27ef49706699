"""A request -> the problem that it poses, or every reason why not.

| module | what it holds |
|---|---|
| problem | THE TRANSLATION, and the warnings of an answer |
| plant | machines, changeovers, closures, public holidays, working hours |
| eligibility | which machines may do a job, and why none may |
| fixed_work | pinned work, and the rows of an earlier schedule |
| continued_work | what becomes of finished, running and frozen work |
| manual_plan | the planner's own plan in a request |
| precheck | proofs that nobody could schedule a problem |
| open_hours | the open time that those proofs need |
"""
