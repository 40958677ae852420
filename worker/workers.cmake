# One worker program per CPython minor version, each linked to that version's libpython.
#
# PYW_PYTHONS names the interpreters; when it is empty we take what we find: python3 on PATH (the one that a context without options
# gets), /usr/bin/python3.X, the builds of ~/.pyenv/versions, python3.X on PATH. The first one of a minor version wins. A version without headers or shared library is passed over.

set(PYW_PROBE "import sys,sysconfig as s;v=s.get_config_var;print(';'.join(map(str,['%d.%d'%sys.version_info[:2],getattr(sys,'_base_executable',sys.executable),s.get_path('include'),v('LIBDIR'),v('LDLIBRARY'),v('Py_ENABLE_SHARED'),v('MULTIARCH') or ''])))")

if(PYW_PYTHONS)
  set(candidates ${PYW_PYTHONS})
else()
  find_program(PYW_PYTHON_3 python3)
  set(candidates ${PYW_PYTHON_3})
  if(NOT PYW_PYTHON_3)
    set(candidates "")
  endif()
  foreach(minor 9 10 11 12 13)
    if(EXISTS /usr/bin/python3.${minor})
      list(APPEND candidates /usr/bin/python3.${minor})
    endif()
    file(GLOB built "$ENV{HOME}/.pyenv/versions/3.${minor}.*/bin/python3.${minor}")
    list(APPEND candidates ${built})
    find_program(PYW_PYTHON_3_${minor} python3.${minor})
    if(PYW_PYTHON_3_${minor})
      list(APPEND candidates ${PYW_PYTHON_3_${minor}})
    endif()
  endforeach()
endif()

# The configuration knows no Python: compiled once for all versions.
add_library(pyw_config STATIC worker/config.cpp)
target_include_directories(pyw_config SYSTEM PRIVATE ${PYW_JSON_INCLUDE})
target_link_libraries(pyw_config PUBLIC pyw_port)

set(found_versions "")
foreach(python ${candidates})
  execute_process(COMMAND ${python} -I -c "${PYW_PROBE}" OUTPUT_VARIABLE facts ERROR_QUIET RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed)
    if(PYW_PYTHONS)
      message(FATAL_ERROR "py_port: ${python} does not run")
    endif()
    continue()
  endif()
  list(GET facts 0 version)
  list(GET facts 1 executable)
  list(GET facts 2 include)
  list(GET facts 3 libdir)
  if(version IN_LIST found_versions)
    continue()
  endif()
  find_library(PYW_LIBPYTHON_${version} NAMES python${version} HINTS ${libdir} NO_DEFAULT_PATH)
  find_library(PYW_LIBPYTHON_${version} NAMES python${version})
  if(NOT EXISTS "${include}/Python.h" OR NOT PYW_LIBPYTHON_${version})
    if(PYW_PYTHONS)
      message(FATAL_ERROR "py_port: ${python} has no Python.h or no shared libpython${version} (Debian: libpython${version}-dev)")
    endif()
    continue()
  endif()
  list(APPEND found_versions ${version})
  message(STATUS "py_port: worker for CPython ${version}: ${executable}")

  file(GLOB python_sources CONFIGURE_DEPENDS worker/python/*.cpp worker/uv/*.cpp worker/aio/*.cpp worker/loop/*.cpp)
  set(target py_worker-${version})
  add_executable(${target} worker/main.cpp worker/process.cpp ${python_sources})
  target_include_directories(${target} SYSTEM PRIVATE ${include} ${PYW_UV_INCLUDE})
  target_compile_definitions(${target} PRIVATE PYW_PYTHON_EXECUTABLE="${executable}" PYW_PYTHON_VERSION="${version}" PYW_VERSION="${PROJECT_VERSION}")
  target_link_libraries(${target} PRIVATE pyw_session pyw_config ${PYW_LIBPYTHON_${version}} ${PYW_UV_LIBRARY} Threads::Threads dl m util)
  target_link_options(${target} PRIVATE -rdynamic)
  get_filename_component(libpython_dir ${PYW_LIBPYTHON_${version}} DIRECTORY)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PYW_PRIV}" BUILD_RPATH "${libpython_dir}")
endforeach()
if(NOT found_versions)
  message(FATAL_ERROR "py_port: no CPython 3.9..3.13 with headers and shared library found (Debian: apt-get install python3-dev)")
endif()

# The Python package goes where the programs are, so that a release that takes priv/ along is complete.
file(GLOB_RECURSE package_files RELATIVE "${CMAKE_SOURCE_DIR}/python_pkg" CONFIGURE_DEPENDS
     "python_pkg/erlang/*.py" "python_pkg/erlang/*.pyi" "python_pkg/erlang/py.typed" "python_pkg/erlang_loop.py" "python_pkg/_erlang_impl/*.py")
# Only when it changed: workers that run now read these files.
list(TRANSFORM package_files PREPEND "${CMAKE_SOURCE_DIR}/python_pkg/" OUTPUT_VARIABLE package_sources)
add_custom_command(OUTPUT "${PYW_PRIV}/python/erlang/__init__.py"
  COMMAND ${CMAKE_COMMAND} -E rm -rf "${PYW_PRIV}/python/erlang"
  COMMAND ${CMAKE_COMMAND} -E copy_directory "${CMAKE_SOURCE_DIR}/python_pkg/erlang" "${PYW_PRIV}/python/erlang"
  COMMAND ${CMAKE_COMMAND} -E rm -rf "${PYW_PRIV}/python/_erlang_impl"
  COMMAND ${CMAKE_COMMAND} -E copy_directory "${CMAKE_SOURCE_DIR}/python_pkg/_erlang_impl" "${PYW_PRIV}/python/_erlang_impl"
  COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_SOURCE_DIR}/python_pkg/erlang_loop.py" "${PYW_PRIV}/python/erlang_loop.py"
  COMMAND ${CMAKE_COMMAND} -E touch "${PYW_PRIV}/python/erlang/__init__.py"
  DEPENDS ${package_sources})
add_custom_target(py_package ALL DEPENDS "${PYW_PRIV}/python/erlang/__init__.py")

# A context that names no Python gets the first one that was found; see py_port_python.
list(GET found_versions 0 default_version)
file(WRITE "${PYW_PRIV}/default_python" "${default_version}\n")
