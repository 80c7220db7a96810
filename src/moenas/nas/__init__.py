"""The search: sampler, surrogates, study and its strategies."""
