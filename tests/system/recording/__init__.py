"""A recording of the API: the same requests, sent again, must be answered as they were, but for ids and times.

`python -m tests.system.recording --compare tests/data/recorded_answers.json` shows what has changed, and with `--out`
instead the answers of today become the recording. It knows HTTP and how a service is started, and no code behind them.
"""
