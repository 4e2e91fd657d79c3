"""The command line: options that all commands share, and `deepmask-trt-run`."""
