"""How a picture is scaled before the network sees it, and where windows lie in it."""
