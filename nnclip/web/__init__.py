"""What both faces need of HTTP: doors that refuse, connections that end."""
