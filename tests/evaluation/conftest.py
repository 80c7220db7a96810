"""Generated tables are checked against slow oracles: fewer of them, and no deadline."""

from hypothesis import settings

settings.register_profile("moenas", max_examples=30, deadline=None, derandomize=True)
settings.load_profile("moenas")
