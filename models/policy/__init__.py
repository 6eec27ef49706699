"""What serves: numpy and numba, no torch.

| module | what it holds |
|---|---|
| artefact | a policy on disk: an SB3 zip for each network, weights and a manifest with hashes |
| predictor | artefact -> schedule: the only inference path |
| justification | a schedule shifted right and left again, which closes what it leaves idle |
"""
