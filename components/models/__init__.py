"""What a model is, told from its reference, its name and its file's header."""
