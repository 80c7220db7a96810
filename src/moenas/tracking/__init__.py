"""Experiment trackers: TensorBoard, MLflow and Weights & Biases, one file each."""
