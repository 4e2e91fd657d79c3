"""From a picture to ranked proposals."""
