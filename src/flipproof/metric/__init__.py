"""How close a decoded picture is."""
