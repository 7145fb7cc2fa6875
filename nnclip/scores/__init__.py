"""How well the two of each pair fit: scored, filtered, looked at."""
