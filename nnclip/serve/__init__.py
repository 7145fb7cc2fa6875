"""The embedding server: `nnclip serve` answers as OpenAI, infinity, vLLM, Jina, Weaviate's and
Immich's servers do, on one port.

Each API is one file with a router; `asking` is the one way from them to a model.
"""

APIS = ("openai", "weaviate", "immich")
