# Writes ctest's entries for a GoogleTest program, one for each of its suites: an entry for each test would start the
# program 700 times, and load libtorch each time.
#
#   cmake -D PROGRAM=FILE -D NAME=base -D QUICK=REGEX -D RESULTS=FOLDER -D OUTPUT=FILE -P suites.cmake
#
# A suite whose name matches QUICK gets the label "quick". Results go into RESULTS, in JUnit's form (scripts/test).
execute_process(COMMAND "${PROGRAM}" --gtest_list_tests OUTPUT_VARIABLE listed RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests ended with ${status}")
endif()

# "Suite." stands at the beginning of a line, "Instances/Suite." where it has parameters; its tests are indented.
string(REGEX MATCHALL "(^|\n)[A-Za-z0-9_/]+\\." suites "${listed}")
list(TRANSFORM suites STRIP)
list(REMOVE_DUPLICATES suites)
set(entries "")
foreach(suite ${suites})
  string(REGEX REPLACE "\\.$" "" suite "${suite}")
  set(label full)
  set(cost 10)  # what takes long begins first
  if(suite MATCHES "${QUICK}")
    set(label quick)
    set(cost 1)
  endif()
  string(REPLACE "/" "-" file "${NAME}.${suite}.xml")
  # Of several programs that run at once none gains by threads; GNU's OpenMP would spin at each barrier, and keep the core
  # from the thread that it waits for: ten times as long.
  string(APPEND entries
    "add_test([[${NAME}.${suite}]] [[${PROGRAM}]] [[--gtest_filter=${suite}.*]] [[--gtest_output=xml:${RESULTS}/${file}]])\n"
    "set_tests_properties([[${NAME}.${suite}]] PROPERTIES LABELS ${label} COST ${cost} TIMEOUT 600 "
    "ENVIRONMENT [[OMP_NUM_THREADS=1;GOMP_SPINCOUNT=1000]])\n")
endforeach()
file(WRITE "${OUTPUT}" "${entries}")
