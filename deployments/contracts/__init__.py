"""The words of the wire and their translation. Only this room knows both vocabularies.

A wire "family" is a job of the domain, and a wire "job" is an operation; hours and datetimes of the
wire are whole seconds from `schedule_start` inside.

| room | what it holds |
|---|---|
| requests | the schema of `POST /schedule`, and what all models of the wire share |
| translation | request -> problem, or every reason why not |
| answers | schedules, verdicts and stored rows -> answers, and the smaller bodies |
| parsing | bytes of a body -> a model, kindly or by the letter, or everything that is wrong with them |
"""
