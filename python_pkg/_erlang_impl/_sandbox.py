"""The sandbox under an older name."""

from erlang._sandbox import install_sandbox, is_sandboxed

__all__ = ["install_sandbox", "is_sandboxed"]
