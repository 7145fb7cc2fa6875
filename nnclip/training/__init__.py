"""Training: pairs -> batches -> step -> checkpoint, on one process or many."""
