"""What fewbits does, one file a verb; each returns the record that the command line prints."""
