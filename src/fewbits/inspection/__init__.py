"""What is in a model, and what each engine could run of it in INT8."""
