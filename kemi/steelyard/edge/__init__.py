"""The adapters: each module speaks to one part of the outside world and hands plain values to the core."""
