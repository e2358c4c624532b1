"""
The laboratory: real Kamailio, Redis and SIPp on loopback, for the demo, the tests and the benchmark.

Every program started here is a child of ours, writes to a folder of ours and is ended by its own pid.
"""
