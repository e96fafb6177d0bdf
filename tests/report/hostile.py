"""A name that would run as a script wherever it is not escaped."""

HOSTILE = "<script>alert('x')</script>&\"'"
