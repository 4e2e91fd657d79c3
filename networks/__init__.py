"""Networks: trunks, feature pyramid, one module per family."""
