# The public library and what others need to build against it: headers, pkg-config file, CMake package.
add_library(libcairn SHARED ${client})
target_link_libraries(libcairn PRIVATE cairn-core PkgConfig::JANSSON)
target_compile_definitions(libcairn PRIVATE CAIRN_VERSION_TEXT="${PROJECT_VERSION}")
target_include_directories(libcairn INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
                                           $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/proto/include>
                                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# Only what is marked CAIRN_API is visible (-fvisibility=hidden); the script gives it a version and keeps libraries that
# are linked in from showing theirs.
set_target_properties(libcairn PROPERTIES OUTPUT_NAME cairn EXPORT_NAME cairn
                                          VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
                                          LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/libcairn.map)
target_link_options(libcairn PRIVATE -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/libcairn.map
                                     -Wl,--no-undefined -Wl,--as-needed
                                     -Wl,-z,nodelete) # a lookup of names may outlive cairn_close()

include(CMakePackageConfigHelpers)
file(GLOB public_headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/include/cairn/*.h
                                           ${CMAKE_SOURCE_DIR}/proto/include/cairn/*.h)
install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cairn COMPONENT sdk)
install(TARGETS libcairn EXPORT CairnTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT sdk)
install(EXPORT CairnTargets NAMESPACE Cairn:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Cairn COMPONENT sdk)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/CairnConfigVersion.cmake COMPATIBILITY SameMajorVersion)
configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/CairnConfig.cmake.in
                              ${CMAKE_CURRENT_BINARY_DIR}/CairnConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Cairn)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/CairnConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/CairnConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Cairn COMPONENT sdk)
# The prefix may change at install time (cmake --install --prefix), so the file finds it from where it lies.
file(RELATIVE_PATH pc_prefix /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(cairn.pc.in ${CMAKE_CURRENT_BINARY_DIR}/cairn.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cairn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT sdk)
