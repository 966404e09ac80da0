"""Learning: data, models, and the engines that train. The door of torch."""
