"""Older names of parts of the package ``erlang``, for code that was written with them."""
