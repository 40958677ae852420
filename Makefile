# make demo     install what is missing, build, run the plugin host (the main job)
# make test     every test; make test STEPS="ct pytest" runs some (test/run --list names them)
# make bench    measure; make bench ARGS="--quick" for a short look
# make bench-loop   measure event loops, ours beside asyncio's and uvloop (bench/loop/README.md); ARGS as above, PYTHON=3.13
# make format   clang-format and erlfmt, where they are installed
# make docs     the API documentation, into build/edoc
# make clean    remove everything that was built

.PHONY: all build demo test bench bench-loop format docs clean

all build:
	rebar3 compile

demo:
	@.ci/packages build
	@rebar3 compile
	@examples/plugin_host/run

test:
	@.ci/packages test
	@test/run $(STEPS)

bench:
	@.ci/packages build
	@rebar3 compile
	@escript bench/run.escript $(ARGS)

bench-loop:
	@.ci/packages build
	@rebar3 compile
	@version=$(PYTHON); priv/py_worker-$${version:-$$(cat priv/default_python)} --python bench/loop/run.py $(ARGS)

format:
	@if command -v clang-format >/dev/null; then \
	  find worker test/cpp test/fuzz bench/echo -name '*.[ch]pp' | xargs -r clang-format -i; \
	else echo "clang-format is not installed (Debian: clang-format): C++ left as it is"; fi
	@if command -v erlfmt >/dev/null; then erlfmt -w 'erl_src/*.erl' 'test/erl/*.erl' 'bench/*.erl'; \
	else echo "erlfmt is not installed (https://github.com/WhatsApp/erlfmt): Erlang left as it is"; fi

docs:
	rebar3 as docs edoc

clean:
	rm -rf _build build priv
