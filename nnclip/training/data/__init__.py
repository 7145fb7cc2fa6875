"""Captioned images: read, ordered, decoded. Needs neither NNabla nor MPI: workers start fast."""
