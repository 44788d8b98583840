"""A small world with an exact oracle, and a micro-model trained on it, so that the whole method runs anywhere."""
