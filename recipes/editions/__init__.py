"""The hand-written sources of the shipped editions, and the rules that they obey."""
