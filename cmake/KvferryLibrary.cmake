# One object library per folder; from the same objects the shared `kvferry` and the static
# `kvferry_internal`, which tools and tests link because the shared library hides its internals.

add_library(kvferry_api INTERFACE)
add_library(kvferry::api ALIAS kvferry_api)
set_target_properties(kvferry_api PROPERTIES EXPORT_NAME api VERIFY_INTERFACE_HEADER_SETS ON)
target_compile_features(kvferry_api INTERFACE cxx_std_20)
target_link_libraries(kvferry_api INTERFACE tl::expected Threads::Threads)

add_library(kvferry SHARED)
add_library(kvferry::kvferry ALIAS kvferry)
set_target_properties(kvferry PROPERTIES LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION} SOVERSION 0)
target_link_libraries(kvferry PUBLIC kvferry_api PRIVATE $<BUILD_INTERFACE:kvferry_build_flags>)
target_link_options(kvferry PRIVATE -Wl,--exclude-libs,ALL)  # keep cudart's symbols to ourselves
if(NOT KVFERRY_SANITIZE)
  target_link_options(kvferry PRIVATE -Wl,--no-undefined)
endif()

add_library(kvferry_internal STATIC)
set_target_properties(kvferry_internal PROPERTIES LINKER_LANGUAGE CXX)
target_link_libraries(kvferry_internal PUBLIC kvferry_api kvferry_build_flags kvferry_cudart)

# kvferry_object_library(<name>): an object library that becomes part of both.
function(kvferry_object_library name)
  add_library(${name} OBJECT)
  target_link_libraries(${name} PRIVATE kvferry_api kvferry_build_flags)
  set_property(GLOBAL APPEND PROPERTY KVFERRY_FLOORS ${name})
endfunction()

function(kvferry_link_libraries_from_floors)
  get_property(floors GLOBAL PROPERTY KVFERRY_FLOORS)
  target_link_libraries(kvferry PRIVATE ${floors})
  target_link_libraries(kvferry_internal PRIVATE ${floors})
endfunction()
