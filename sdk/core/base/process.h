/** Which process it is: a pid alone is some other's, some day. */
#ifndef CAIRN_SDK_CORE_BASE_PROCESS_H
#define CAIRN_SDK_CORE_BASE_PROCESS_H

#include <stdint.h>

/** When @pid began, in clock ticks since this machine's start: with the pid it names a process. 0: there is none, or
 * it is not for us to see. Any thread. */
uint64_t cairn_process_began(int pid);

#endif
