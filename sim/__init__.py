"""The simulator: the core that runs in Kamailio, and what others do, over queues in virtual time."""
