"""The decision as a person and a program read it; reads records only."""
