# User options, and `kvferry_build_flags`: the internal target that carries warnings, sanitizers and
# the internal include root. It is never exported.

set(KVFERRY_CUDA AUTO CACHE STRING "Build the CUDA device: AUTO (when nvcc is found), ON, OFF")
set_property(CACHE KVFERRY_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KVFERRY_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address,undefined' or 'thread'")
option(KVFERRY_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(KVFERRY_BUILD_FUZZERS "Build the libFuzzer targets (clang, with fuzzer-no-link sanitized)" OFF)
option(KVFERRY_WERROR "Treat warnings as errors" OFF)
option(KVFERRY_ENABLE_DCHECK "Compile KVFERRY_DCHECK in" OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)  # an installed kvferry finds the UCX of UCX_ROOT

find_program(KVFERRY_CCACHE ccache)
mark_as_advanced(KVFERRY_CCACHE)
if(KVFERRY_CCACHE)
  foreach(language CXX CUDA)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER ${KVFERRY_CCACHE})
    endif()
  endforeach()
endif()

add_library(kvferry_build_flags INTERFACE)
target_compile_features(kvferry_build_flags INTERFACE cxx_std_20)
target_include_directories(kvferry_build_flags INTERFACE ${PROJECT_SOURCE_DIR})

set(cxx_flags -Wall -Wextra -Wshadow -Wsign-conversion -Wnon-virtual-dtor)
set(cuda_flags -std=c++20 -Xcompiler=-Wall,-Wextra)  # CMake 3.25 knows no CUDA_STANDARD 20
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms on std::string and std::vector at -O3 (GCC bug 105651 and its kin).
  list(APPEND cxx_flags -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND cxx_flags -Wthread-safety)
endif()
if(KVFERRY_WERROR)
  list(APPEND cxx_flags -Werror)
  list(APPEND cuda_flags -Werror=all-warnings)
endif()
if(KVFERRY_SANITIZE)
  set(sanitize_flags -fsanitize=${KVFERRY_SANITIZE} -fno-sanitize-recover=all
                     -fno-omit-frame-pointer)
  list(APPEND cxx_flags ${sanitize_flags})
  # nvcc takes a comma for the end of a flag: -fsanitize=a,b becomes -fsanitize=a and -fsanitize=b.
  string(REPLACE "," ",-fsanitize=" nvcc_sanitize_flags "-fsanitize=${KVFERRY_SANITIZE}")
  list(APPEND cuda_flags
       -Xcompiler=${nvcc_sanitize_flags},-fno-sanitize-recover=all,-fno-omit-frame-pointer)
  target_link_options(kvferry_build_flags INTERFACE ${sanitize_flags})
endif()
target_compile_options(
  kvferry_build_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${cxx_flags}>"
                                "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")
if(KVFERRY_ENABLE_DCHECK)
  target_compile_definitions(kvferry_build_flags INTERFACE KVFERRY_ENABLE_DCHECK=1)
endif()
