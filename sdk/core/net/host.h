/** Which machine this is: two processes that read the same share a kernel, and perhaps files. */
#ifndef CAIRN_CORE_NET_HOST_H
#define CAIRN_CORE_NET_HOST_H

enum { CAIRN_HOST_ID_MAX = 64 };

/** The kernel's id of its boot, or else the host's name; "" if there is neither. */
void cairn_host_id(char to[CAIRN_HOST_ID_MAX]);

#endif
