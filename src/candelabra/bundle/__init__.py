"""Load, save and use a trained model; needs neither Hydra nor Lightning."""
