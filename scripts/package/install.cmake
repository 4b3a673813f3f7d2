# What `cmake --install` puts where, and the .deb that cpack and the wheel that scripts/wheel make of it.
# scripts/package/README.md has the commands.
option(SDGEN_WHEEL "install for a wheel: with the libraries that a bare system lacks, without those of the wheel torch" OFF)

set(libraries lib/sdgen)  # whatever the system calls its own folder: the program looks there (src/program/open_core.cpp)
set(share share)
set(torch_rpath "")
if(SDGEN_WHEEL)
  # The program is in site-packages/sdgen, with torch/ beside that; what shells and man look for is in the environment.
  set(share "${SKBUILD_DATA_DIR}/share")
  set(torch_rpath ":$ORIGIN/../../../torch/lib")
endif()

# `cmake --install` itself builds nothing.
set(installed sdgen sdgen_library sdgen_core_module manual)
if(TARGET sdgen_cuda_plugin)
  list(APPEND installed sdgen_cuda_plugin)
endif()
list(JOIN installed ";" installed)
install(CODE "execute_process(COMMAND \"${CMAKE_COMMAND}\" --build \"${CMAKE_BINARY_DIR}\" --target ${installed}
                              COMMAND_ERROR_IS_FATAL ANY)")

# RPATH, not RUNPATH, which would not count for what the program's libraries need in turn.
target_link_options(sdgen PRIVATE -Wl,--disable-new-dtags)
set_target_properties(sdgen PROPERTIES INSTALL_RPATH "$ORIGIN/../${libraries}" BUILD_WITH_INSTALL_RPATH ON)
install(TARGETS sdgen RUNTIME DESTINATION bin)
foreach(module sdgen_library sdgen_core_module sdgen_cuda_plugin)
  if(TARGET ${module})
    set_target_properties(${module} PROPERTIES INSTALL_RPATH "$ORIGIN${torch_rpath}")
    install(TARGETS ${module} LIBRARY DESTINATION ${libraries} NAMELINK_SKIP)
  endif()
endforeach()

# For other projects: find_package(sdgen). Not in a wheel, where nobody looks for headers.
if(NOT SDGEN_WHEEL)
  install(DIRECTORY include/sdgen DESTINATION include)
  include(CMakePackageConfigHelpers)
  set(package "${CMAKE_BINARY_DIR}/package")
  configure_file(scripts/package/sdgenConfig.cmake.in "${package}/sdgenConfig.cmake.in" @ONLY)
  file(GENERATE OUTPUT "${package}/sdgenConfig.cmake" INPUT "${package}/sdgenConfig.cmake.in")
  # Before 1.0 each minor version may change the headers.
  write_basic_package_version_file("${package}/sdgenConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${package}/sdgenConfig.cmake" "${package}/sdgenConfigVersion.cmake" DESTINATION lib/cmake/sdgen)
endif()

# LLVM's run time of OpenMP, which the program prefers to GNU's (src/program/open_core.cpp), where this machine has it.
find_library(SDGEN_LIBOMP NAMES libomp.so.5)
if(SDGEN_LIBOMP)
  file(REAL_PATH "${SDGEN_LIBOMP}" libomp)
  install(PROGRAMS "${libomp}" DESTINATION ${libraries} RENAME libomp.so.5)
endif()

# The other libraries. Installed: those that come from libtorch's wheel. In a wheel: those that come from this system and
# are in none of the wheels, but for what every Linux with Python and torch has.
# What the program opens only when it is needed is no dependency of its file.
if(SDGEN_WHEEL)
  set(of EXECUTABLES "$<TARGET_FILE:sdgen>" LIBRARIES ${opened_libraries})
  set(more ${opened_libraries})
  set(wanted "^/(usr/)?lib")
else()
  set(of LIBRARIES "$<TARGET_FILE:sdgen_library>")
  set(more "")
  set(wanted "/(torch|nvidia)/")
endif()
set(system "^(ld-linux.*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc[+][+]|z))[.]so")
install(CODE "set(of ${of})\nset(more ${more})\nset(wanted \"${wanted}\")\nset(system \"${system}\")\nset(libraries ${libraries})")
install(CODE [[
  file(GET_RUNTIME_DEPENDENCIES ${of} RESOLVED_DEPENDENCIES_VAR found UNRESOLVED_DEPENDENCIES_VAR missing
       CONFLICTING_DEPENDENCIES_PREFIX twice PRE_EXCLUDE_REGEXES "${system}")
  if(missing OR twice_FILENAMES)
    message(FATAL_ERROR "libraries that are missing: '${missing}', or there twice: '${twice_FILENAMES}'")
  endif()
  foreach(file ${found} ${more})
    if(file MATCHES "${wanted}")  # under the name by which it was found: a wheel can have no links
      get_filename_component(name "${file}" NAME)
      message(STATUS "Installing: ${CMAKE_INSTALL_PREFIX}/${libraries}/${name}")
      file(REAL_PATH "${file}" real)
      file(COPY_FILE "${real}" "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${libraries}/${name}" ONLY_IF_DIFFERENT)
      # Its licence, where it is Debian's.
      execute_process(COMMAND dpkg-query --search "${real}" OUTPUT_VARIABLE owner ERROR_QUIET RESULT_VARIABLE unknown)
      string(REGEX MATCH "^[^:]+" owner "${owner}")
      if(NOT unknown AND EXISTS "/usr/share/doc/${owner}/copyright")
        file(MAKE_DIRECTORY "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/share/doc/sdgen/licences")
        file(REAL_PATH "/usr/share/doc/${owner}/copyright" licence)
        file(COPY_FILE "${licence}" "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/share/doc/sdgen/licences/${owner}.txt" ONLY_IF_DIFFERENT)
      endif()
    endif()
  endforeach()
]])

install(DIRECTORY models/default DESTINATION share/sdgen)
install(DIRECTORY "${CMAKE_BINARY_DIR}/t5" DESTINATION share/sdgen OPTIONAL)
install(DIRECTORY "${CMAKE_BINARY_DIR}/share/" DESTINATION "${share}")

# Licences: ours, and those of what is in the program or beside it.
install(FILES LICENSE scripts/locks/THIRD_PARTY.md DESTINATION share/doc/sdgen)
foreach(package fonts-dejavu-core fonts-droid-fallback libavif-dev libcli11-dev libexpat1-dev libicu-dev libjxl-dev libssl-dev
                libstb-dev libtomlplusplus-dev libturbojpeg0-dev libwebp-dev nlohmann-json3-dev)
  if(EXISTS "/usr/share/doc/${package}/copyright")
    file(REAL_PATH "/usr/share/doc/${package}/copyright" licence)
    install(FILES "${licence}" DESTINATION share/doc/sdgen/licences RENAME ${package}.txt)
  endif()
endforeach()
install(FILES "${SDGEN_SENTENCEPIECE}/LICENSE" DESTINATION share/doc/sdgen/licences RENAME sentencepiece.txt)
foreach(part absl darts_clone protobuf-lite)
  install(FILES "${SDGEN_SENTENCEPIECE}/third_party/${part}/LICENSE" DESTINATION share/doc/sdgen/licences
          RENAME sentencepiece-${part}.txt)
endforeach()
if(SDGEN_LIBOMP)
  file(GLOB licence "/usr/share/doc/libomp5-[0-9]*/copyright")
  install(FILES ${licence} DESTINATION share/doc/sdgen/licences RENAME libomp5.txt)
endif()
file(GLOB licences "${SDGEN_TORCH}/../torch-*.dist-info/licenses/*" "${SDGEN_TORCH}/../torch-*.dist-info/LICENSE")
if(NOT SDGEN_WHEEL)
  install(FILES ${licences} DESTINATION share/doc/sdgen/licences/torch)
  foreach(package nvidia_cuda_runtime nvidia_cuda_cupti)
    file(GLOB licence "${SDGEN_TORCH}/../${package}-*.dist-info/licenses/License.txt"
         "${SDGEN_TORCH}/../${package}-*.dist-info/License.txt")
    install(FILES ${licence} DESTINATION share/doc/sdgen/licences/${package})
  endforeach()
endif()

# --- The .deb: the same tree in /usr. `cpack -B build/dist` in the build folder.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sdgen)
set(CPACK_PACKAGE_CONTACT "the sdgen authors <sdgen@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pictures from prompts with Stable Diffusion, on libtorch")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)  # half a gigabyte: xz takes minutes for a tenth less
# Debian's packages for what is not in the package, as dpkg-shlibdeps finds them. Ours are none of Debian's.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${SDGEN_TORCH}/lib")
# Those that are opened when they are needed are in no file's list.
set(opened_packages "")
foreach(file ${opened_libraries})
  file(REAL_PATH "${file}" real)
  execute_process(COMMAND dpkg-query --search "${real}" OUTPUT_VARIABLE owner ERROR_QUIET RESULT_VARIABLE unknown)
  if(NOT unknown)
    string(REGEX MATCH "^[^:]+" owner "${owner}")
    list(APPEND opened_packages "${owner}")
  endif()
endforeach()
list(JOIN opened_packages ", " CPACK_DEBIAN_PACKAGE_DEPENDS)
file(GLOB cuda_libraries LIST_DIRECTORIES true "${SDGEN_TORCH}/../nvidia/*/lib")
list(APPEND CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${cuda_libraries})
include(CPack)
