"""The event loop under an older name, for code that was written with it: what is here is what the package ``erlang`` has."""

from erlang import ErlangEventLoop, ErlangEventLoopPolicy, EventLoopPolicy, get_event_loop_policy, install, new_event_loop, run

__all__ = ["ErlangEventLoop", "ErlangEventLoopPolicy", "EventLoopPolicy", "get_event_loop_policy", "install", "new_event_loop", "run"]
