"""The probe: what kind of sampler is a model when a distribution is stated to it, and what follows for a recipe.

    tasks ──► questions ──► own answers ──► steps (P_token) ──► figures ──► verdict, advice ──► probe.json, probe.html

`run.py` knows the order and reads as a table of contents. Light at import; engines, tokenizers and what computes are
imported when `run_probe` is called.
"""
