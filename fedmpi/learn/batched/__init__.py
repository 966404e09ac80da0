"""The batched engine, which trains many clients at once, each in a slot of a chunk."""
