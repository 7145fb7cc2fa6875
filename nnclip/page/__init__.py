"""The page on port 8889: what a picture shows, search, comparison, and how it all comes about."""
