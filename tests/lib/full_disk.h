/** File systems that are full as far as this program's own code sees, the engines in libraries not: for a program that is
 * linked with -Wl,--wrap=statvfs. */
#ifndef TESTS_LIB_FULL_DISK_H
#define TESTS_LIB_FULL_DISK_H

#include <stdatomic.h>

extern atomic_bool full_disk;

#endif
