"""From a model to predictions, from predictions to scores."""
