"""The model as NNabla functions: both towers, the loss, and the names of their parameters."""

import sys

# Every call of an NNabla function tries to import this module, which does not exist, and searches
# the disk for it. Known to be absent, it is not searched for: graphs are built in half the time.
sys.modules.setdefault("nnabla.nnabla", None)  # type: ignore[arg-type]
