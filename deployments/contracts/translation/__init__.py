"""A request -> the problem that it poses, or every reason why not.

| module | what it holds |
|---|---|
| problem | THE TRANSLATION, and the warnings of an answer |
| plant | machines and which of them may do a job, changeovers, closures, public holidays, working hours |
| fixed_work | pinned work, the rows of an earlier schedule, and the planner's own plan |
| continued_work | what becomes of finished, running and frozen work |
| precheck | proofs that nobody could schedule a problem |
| open_hours | the open time that those proofs need |
"""
