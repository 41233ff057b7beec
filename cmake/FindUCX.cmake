# Finds UCX by UCX_ROOT (variable or environment), else by pkg-config, else on the default paths.
# Defines kvferry::ucx for use inside this build, UCX_FOUND and UCX_VERSION.

find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_UCX QUIET ucx)
endif()

find_path(UCX_INCLUDE_DIR ucp/api/ucp.h HINTS ${PC_UCX_INCLUDE_DIRS})
find_library(UCX_UCP_LIBRARY ucp HINTS ${PC_UCX_LIBRARY_DIRS})
find_library(UCX_UCS_LIBRARY ucs HINTS ${PC_UCX_LIBRARY_DIRS})
mark_as_advanced(UCX_INCLUDE_DIR UCX_UCP_LIBRARY UCX_UCS_LIBRARY)

if(EXISTS "${UCX_INCLUDE_DIR}/ucp/api/ucp_version.h")
  file(READ "${UCX_INCLUDE_DIR}/ucp/api/ucp_version.h" version_header)
  if(version_header MATCHES "UCP_API_MAJOR +([0-9]+).*UCP_API_MINOR +([0-9]+)")
    set(UCX_VERSION "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(UCX REQUIRED_VARS UCX_INCLUDE_DIR UCX_UCP_LIBRARY UCX_UCS_LIBRARY
                                      VERSION_VAR UCX_VERSION)

if(UCX_FOUND AND NOT TARGET kvferry::ucx)
  add_library(kvferry::ucx INTERFACE IMPORTED)
  target_include_directories(kvferry::ucx SYSTEM INTERFACE ${UCX_INCLUDE_DIR})
  target_link_libraries(kvferry::ucx INTERFACE ${UCX_UCP_LIBRARY} ${UCX_UCS_LIBRARY})
endif()
