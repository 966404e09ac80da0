"""Learning: data, models, and the engines that train. Only this package imports torch."""
