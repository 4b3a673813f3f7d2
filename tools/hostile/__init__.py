"""Malformed input and faults: what tools/malformed.py and tools/faults.py try on sdgen."""
