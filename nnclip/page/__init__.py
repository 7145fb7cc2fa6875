"""The page on port 8889: what an image shows, search, comparison, and how it all comes about."""
