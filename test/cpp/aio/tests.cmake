# The doctest binary of aio/: what of it needs no Python, with libuv. What needs Python (test/cpp/aio/python) is in test_python, which has one.

file(GLOB pyw_aio_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/cpp/aio/*_test.cpp)
add_executable(test_aio ${pyw_aio_tests} ${CMAKE_SOURCE_DIR}/test/cpp/support/main.cpp ${CMAKE_SOURCE_DIR}/worker/aio/reactor.cpp)
target_include_directories(test_aio PRIVATE ${CMAKE_SOURCE_DIR}/test/cpp)
target_include_directories(test_aio SYSTEM PRIVATE ${PYW_DOCTEST_INCLUDE} ${PYW_UV_INCLUDE})
target_link_libraries(test_aio PRIVATE pyw_base ${PYW_UV_LIBRARY} Threads::Threads)
add_test(NAME aio COMMAND test_aio)
