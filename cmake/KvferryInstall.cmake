# Install rules, the CMake package, the pkg-config file, and CPack (TGZ, DEB).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kvferry)

install(TARGETS kvferry kvferry_api EXPORT kvferryTargets
        LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev
        FILE_SET HEADERS COMPONENT dev)
install(TARGETS kvferry_tool RUNTIME COMPONENT tools)
install(EXPORT kvferryTargets NAMESPACE kvferry:: DESTINATION ${package_dir} COMPONENT dev)

configure_package_config_file(cmake/kvferryConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/cmake/kvferryConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/kvferryConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cmake/kvferryConfig.cmake
              ${PROJECT_BINARY_DIR}/cmake/kvferryConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT dev)

# Relative to the file's own place, so that an installed tree can be moved or given --prefix late.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH prefix_from_pkgconfig /${pkgconfig_dir} /)
string(REGEX REPLACE "/$" "" prefix_from_pkgconfig ${prefix_from_pkgconfig})
configure_file(cmake/kvferry.pc.in ${PROJECT_BINARY_DIR}/cmake/kvferry.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/kvferry.pc
        DESTINATION ${pkgconfig_dir} COMPONENT dev)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR TGZ DEB)
  set(CPACK_PACKAGE_VENDOR "kvferry")
  set(CPACK_PACKAGE_CONTACT "the kvferry authors")
  set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS libexpected-dev)
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  include(CPack)
endif()
