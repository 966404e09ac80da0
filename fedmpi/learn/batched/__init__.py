"""The engine that trains many clients at once, each in a slot of a chunk of fixed width."""
