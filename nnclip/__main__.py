"""Makes `python -m nnclip` the command line of the library."""

import sys

from nnclip.cli import main

sys.exit(main())
