"""CLIP for NNabla: pictures and texts in one space.

`from nnclip import clip` is the face of the library; everything else feeds the graph, runs it or
reads what it gives.
"""

__version__ = "0.1.0"
