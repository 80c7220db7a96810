"""MoENAS: search, train and prune small mixture-of-experts vision models that see everyone."""
