"""Learning: data, models, engines and the trainer. The door of torch."""
