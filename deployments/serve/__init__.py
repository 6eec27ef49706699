"""The Ray Serve deployments: thin shells, what each holds, and how they speak to each other.

| module | what it holds |
|---|---|
| router, policy, validator, shadow, controller | five of the six deployments |
| handles | the ports of the use case over Serve handles and the spool |
| storage | the sixth, which writes; explanations and files, in a process of low priority where they are large |
| environment | what Ray reads from the environment of a node, and what is refused on a cluster |
| serialization | what travels between replicas, as bytes |
| health | what a router knows about its neighbours, asked in the background |
| metrics | what replicas count and measure, by Ray's own library |
| process | what every replica does first, and the memory that it gives back |
"""
