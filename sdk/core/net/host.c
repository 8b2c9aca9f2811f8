/* Which machine this is: see host.h. */
#include "sdk/core/net/host.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void cairn_host_id(char to[CAIRN_HOST_ID_MAX])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, CAIRN_HOST_ID_MAX - 1) : 0;

    if (fd >= 0)
        close(fd);
    to[n > 0 ? n : 0] = '\0';
    to[strcspn(to, "\n")] = '\0';
    if (to[0] == '\0' && gethostname(to, CAIRN_HOST_ID_MAX) != 0)
        to[0] = '\0';
    to[CAIRN_HOST_ID_MAX - 1] = '\0';
}
