%% Kinds and flags of a frame header: docs/protocol.md, sections 2 and 5.

-define(PROTOCOL_VERSION, 1).
-define(HEADER_SLACK, 65536).

%% BEAM to worker
-define(K_CONFIG, 16#01).
-define(K_CALL, 16#10).
-define(K_EVAL, 16#11).
-define(K_EXEC, 16#12).
-define(K_METHOD, 16#13).
-define(K_GETATTR, 16#14).
-define(K_TO_TERM, 16#15).
-define(K_CANCEL, 16#20).
-define(K_INTERRUPT, 16#21).
-define(K_PING, 16#22).
-define(K_STATUS, 16#23).
-define(K_RELEASE, 16#24).
-define(K_CREDIT, 16#25).
-define(K_STOP, 16#26).
-define(K_DUMP, 16#27).
-define(K_CALLBACK_OK, 16#30).
-define(K_CALLBACK_ERROR, 16#31).

%% worker to BEAM
-define(K_HELLO, 16#40).
-define(K_READY, 16#41).
-define(K_START_FAILED, 16#42).
-define(K_OK, 16#50).
-define(K_ERROR, 16#51).
-define(K_REF, 16#52).
-define(K_CONTROL_REPLY, 16#53).
-define(K_PONG, 16#54).
-define(K_ENDED, 16#55).
-define(K_OUTPUT, 16#60).
-define(K_CALLBACK, 16#61).
-define(K_CALLBACK_CANCEL, 16#62).

%% request flags
-define(F_TRACE, 16#01).
-define(F_RETURN_REF, 16#02).
-define(F_NO_RESULT, 16#04).

%% CANCEL flags
-define(F_ASK, 16#01).

%% OUTPUT flags
-define(F_STDOUT, 16#01).
-define(F_STDERR, 16#02).
-define(F_CUT, 16#10).
-define(F_COUNT_ONLY, 16#20).
-define(F_OUTPUT, (?F_STDOUT bor ?F_STDERR bor ?F_CUT bor ?F_COUNT_ONLY)).

%% ENDED: the worker does not know the id: answered already, or not there yet.
-define(ENDED_UNKNOWN, 3).
%% ENDED: no answer yet; a coroutine that can go on only when somebody else's call is over.
-define(ENDED_DEFERRED, 4).
