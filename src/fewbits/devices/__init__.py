"""Facts about devices as data, and what this host has."""
