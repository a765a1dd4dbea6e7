"""Models of the TF1 Object Detection API, ported to its TF2 code: pipeline.config, object graph and checkpoint."""
