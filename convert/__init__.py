"""The old home of `nnclip.convert`: its names can still be imported from here, for one release."""

import warnings

from nnclip.convert import __path__ as _path

warnings.warn("import nnclip.convert instead of convert", DeprecationWarning, stacklevel=2)
__path__ = _path
