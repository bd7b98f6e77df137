# Android on 64-bit Arm, through the NDK's own toolchain file. Needs ANDROID_NDK_HOME. Not run by the project's checks.
if(NOT DEFINED ENV{ANDROID_NDK_HOME})
  message(FATAL_ERROR "ANDROID_NDK_HOME is not set: point it at an Android NDK, r26 or later")
endif()
set(ANDROID_ABI arm64-v8a)
set(ANDROID_PLATFORM android-28)
set(ANDROID_STL c++_static)
include($ENV{ANDROID_NDK_HOME}/build/cmake/android.toolchain.cmake)
# Devices with 16 KB pages load only libraries whose segments are aligned to them.
foreach(kind IN ITEMS EXE SHARED MODULE)
  string(APPEND CMAKE_${kind}_LINKER_FLAGS_INIT " -Wl,-z,max-page-size=16384")
endforeach()
