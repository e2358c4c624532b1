"""Steelyard: load balancing of SIP proxies by what they themselves say."""
