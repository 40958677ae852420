# The doctest binary of python/, and of what needs Python in aio/, with CPython embedded. Built once, for the first version that was found.
# Included after worker/workers.cmake, whose found_versions and targets it uses.

list(GET found_versions 0 pyw_tested_version)
set(pyw_tested_worker py_worker-${pyw_tested_version})
file(GLOB pyw_python_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/worker/python/*.cpp)
file(GLOB pyw_python_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/cpp/python/*_test.cpp ${CMAKE_SOURCE_DIR}/test/cpp/aio/python/*_test.cpp)
list(APPEND pyw_python_sources ${CMAKE_SOURCE_DIR}/worker/aio/address.cpp ${CMAKE_SOURCE_DIR}/worker/aio/receive_room.cpp)

add_executable(test_python ${pyw_python_tests} ${CMAKE_SOURCE_DIR}/test/cpp/python/embedded_main.cpp ${pyw_python_sources})
target_include_directories(test_python PRIVATE ${CMAKE_SOURCE_DIR}/test/cpp/python)
target_include_directories(test_python SYSTEM PRIVATE $<TARGET_PROPERTY:${pyw_tested_worker},INCLUDE_DIRECTORIES> ${PYW_DOCTEST_INCLUDE})
target_compile_definitions(test_python PRIVATE PYW_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                           $<FILTER:$<TARGET_PROPERTY:${pyw_tested_worker},COMPILE_DEFINITIONS>,INCLUDE,^PYW_PYTHON_>)
target_link_libraries(test_python PRIVATE pyw_session ${PYW_LIBPYTHON_${pyw_tested_version}} Threads::Threads dl m util)
get_target_property(pyw_tested_rpath ${pyw_tested_worker} BUILD_RPATH)
set_target_properties(test_python PROPERTIES BUILD_RPATH "${pyw_tested_rpath}")
add_test(NAME python COMMAND test_python)
# What CPython keeps until the end is no leak of ours.
set_tests_properties(python PROPERTIES ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
