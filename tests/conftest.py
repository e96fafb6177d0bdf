"""Lives here so that pytest puts ``tests/`` on the path: ``from models import …`` works in every folder below."""
