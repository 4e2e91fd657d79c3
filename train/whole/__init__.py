"""Training on whole pictures: views of them, targets of every location, losses."""
