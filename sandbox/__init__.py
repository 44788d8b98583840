"""A small world with an exact oracle, and a micro-model trained on it: the whole method runs anywhere, and is checked."""
