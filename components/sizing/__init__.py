"""How much memory a model takes, whether a machine has it, and how an engine is set up for that."""
