%% @doc What the operations on channels and inlets that Python asks for have in common. Runs in the
%% process of the job.
%%
%% A worker is not trusted: the pid it names must be such a process, or nothing is sent to it.
%% @end
-module(py_port_fifo_op).

-export([name/1, kind/1, bad/2]).
-export_type([answer/0]).

%% What the worker is told. `fetched': the receipt is for what is in it.
-type answer() :: {fetched, term(), py_port_fifo:receipt()} | term().

%% @doc Python sends names as text.
-spec name(term()) -> binary().
name(Op) when is_atom(Op) -> atom_to_binary(Op);
name(Op) when is_binary(Op) -> Op;
name(Op) -> bad(Op, []).

%% @doc `none': there is no such process, or it is another one. The arguments begin with its pid.
-spec kind([term()]) -> py_port_fifo:kind() | none.
kind([Pid | _]) when is_pid(Pid) -> py_port_fifo:kind(Pid);
kind(Args) -> bad(pid, Args).

%% @doc The answer is `{bad_request, Text}'.
-spec bad(term(), [term()]) -> no_return().
bad(Op, Args) ->
    Text = io_lib:format("there is no operation ~tp with ~b arguments", [Op, length(Args)]),
    py_port_call:fail({bad_request, py_port_error:text(Text)}).
