"""The model as NNabla functions: both towers, the loss, and the names of their parameters."""
