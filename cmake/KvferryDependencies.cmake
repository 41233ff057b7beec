# Finds everything kvferry can use. A missing required package stops the configure step; a missing
# optional one removes what needs it. `kvferry_print_summary()` says which is which, once.

function(kvferry_report name found version meaning)
  if(NOT found)
    set(version "not found")
  elseif(version STREQUAL "")
    set(version "found")
  endif()
  foreach(column name version)
    string(LENGTH "${${column}}" length)
    math(EXPR padding "20 - ${length}")
    if(padding GREATER 0)
      string(REPEAT " " ${padding} spaces)
      string(APPEND ${column} "${spaces}")
    endif()
  endforeach()
  set_property(GLOBAL APPEND_STRING PROPERTY KVFERRY_SUMMARY "  ${name}| ${version}| ${meaning}\n")
endfunction()

function(kvferry_print_summary)
  get_property(rows GLOBAL PROPERTY KVFERRY_SUMMARY)
  message(STATUS "kvferry ${PROJECT_VERSION} (${CMAKE_BUILD_TYPE})\n${rows}")
endfunction()

# Required.
find_package(Threads REQUIRED)
find_package(tl-expected CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(yaml-cpp REQUIRED)
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
mark_as_advanced(XXHASH_INCLUDE_DIR)

kvferry_report("tl::expected" 1 "${tl-expected_VERSION}" "Result<T>, in the public headers")
kvferry_report("spdlog" 1 "${spdlog_VERSION}" "log output")
kvferry_report("OpenSSL" 1 "${OPENSSL_VERSION}" "SHA-256 of chunk keys")
kvferry_report("xxHash" 1 "" "checksum, inlined from its header")
kvferry_report("nlohmann_json" 1 "${nlohmann_json_VERSION}" "JSON in tools/ and workload/")
kvferry_report("yaml-cpp" 1 "${yaml-cpp_VERSION}" "configuration files")
kvferry_report("CLI11" 1 "${CLI11_VERSION}" "command line of the kvferry tool")

# xxHash as a header: no library to link, the code inlined where it is used.
add_library(kvferry_xxhash INTERFACE)
target_include_directories(kvferry_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(kvferry_xxhash INTERFACE XXH_INLINE_ALL=)

# CUDA: a compiler is enough, configuring never asks for a GPU.
set(KVFERRY_HAVE_CUDA 0)
if(KVFERRY_CUDA)
  find_program(KVFERRY_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  mark_as_advanced(KVFERRY_NVCC)
  if(KVFERRY_NVCC AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} ${KVFERRY_NVCC})
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
      set(CMAKE_CUDA_ARCHITECTURES 90)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(KVFERRY_HAVE_CUDA 1)
  elseif(NOT KVFERRY_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "KVFERRY_CUDA is ON but no working nvcc was found; put it on PATH, set "
                        "CMAKE_CUDA_COMPILER, or use KVFERRY_CUDA=OFF")
  endif()
  kvferry_report("CUDA" ${KVFERRY_HAVE_CUDA} "${CUDAToolkit_VERSION}"
                 "CUDA device and kernels; without it the host device only")
else()
  kvferry_report("CUDA" 0 "" "switched off by KVFERRY_CUDA: the host device only")
endif()

# What sees the CUDA runtime's headers links this; empty without CUDA. An executable with the property
# KVFERRY_SIM_CUDA gets the simulated runtime of tests/sim_cuda in its place.
add_library(kvferry_cudart INTERFACE)
if(KVFERRY_HAVE_CUDA)
  set(simulated $<BOOL:$<TARGET_PROPERTY:KVFERRY_SIM_CUDA>>)
  target_link_libraries(kvferry_cudart
                        INTERFACE $<IF:${simulated},kvferry_sim_cuda,CUDA::cudart_static>)
endif()

find_package(UCX 1.13)
set(KVFERRY_HAVE_UCX 0)
if(UCX_FOUND)
  set(KVFERRY_HAVE_UCX 1)
endif()
kvferry_report("UCX" ${KVFERRY_HAVE_UCX} "${UCX_VERSION}"
               "transports/ucx; without it chunks stay within one process")

# Optional, for sinks and metrics.
find_package(PkgConfig QUIET)
foreach(library IN ITEMS uring hiredis)
  string(TOUPPER ${library} LIBRARY)
  set(KVFERRY_HAVE_${LIBRARY} 0)
  if(PkgConfig_FOUND)
    string(REPLACE "uring" "liburing" module ${library})
    pkg_check_modules(${LIBRARY} QUIET IMPORTED_TARGET ${module})
    if(${LIBRARY}_FOUND)
      set(KVFERRY_HAVE_${LIBRARY} 1)
    endif()
  endif()
endforeach()
find_package(prometheus-cpp CONFIG QUIET)
set(KVFERRY_HAVE_PROMETHEUS 0)
if(prometheus-cpp_FOUND)
  set(KVFERRY_HAVE_PROMETHEUS 1)
endif()
kvferry_report("liburing" ${KVFERRY_HAVE_URING} "${URING_VERSION}"
               "backends/local_disk by io_uring; without it pread and pwrite")
kvferry_report("hiredis" ${KVFERRY_HAVE_HIREDIS} "${HIREDIS_VERSION}"
               "remote_url: redis://; without it an error that says so")
kvferry_report("prometheus-cpp" ${KVFERRY_HAVE_PROMETHEUS} "${prometheus-cpp_VERSION}"
               "metrics over HTTP; without it none")

target_compile_definitions(
  kvferry_build_flags
  INTERFACE KVFERRY_HAVE_CUDA=${KVFERRY_HAVE_CUDA} KVFERRY_HAVE_UCX=${KVFERRY_HAVE_UCX}
            KVFERRY_HAVE_URING=${KVFERRY_HAVE_URING} KVFERRY_HAVE_HIREDIS=${KVFERRY_HAVE_HIREDIS}
            KVFERRY_HAVE_PROMETHEUS=${KVFERRY_HAVE_PROMETHEUS})

if(KVFERRY_BUILD_TESTS)
  find_package(GTest CONFIG)
  kvferry_report("GoogleTest" "${GTest_FOUND}" "${GTest_VERSION}" "tests; without it none are built")
endif()
kvferry_report("ccache" "${KVFERRY_CCACHE}" "" "faster rebuilds")
