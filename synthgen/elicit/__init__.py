"""Eliciting a distribution by the prompt alone: soft prompts (trained embeddings) and hard ones (searched words).

No weight of the model changes. `config`, `answers` and `frame` are light; `soft_*`, `hard_*` and `objective` are
edge modules that load torch. After "distribution prompting" (arXiv 2505.12244).
"""
