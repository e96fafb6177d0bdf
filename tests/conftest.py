"""Lives here so that pytest puts ``tests/`` on the path: ``from models import …`` works in every folder below."""

from hypothesis import settings

# Hypothesis times each example; on a shared machine, with files synced to disk, that measures the neighbours.
settings.register_profile("fewbits", deadline=None)
settings.load_profile("fewbits")
