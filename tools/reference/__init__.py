"""The outside reference of sdgen: diffusers and transformers on tiny random models.

`make_fixtures.py` writes their answers into files for the C++ tests; `parity.py` compares whole pictures live.
"""
