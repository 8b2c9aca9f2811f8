/** Base64 (RFC 4648, with padding), as JSON carries bytes. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_BASE64_H
#define CAIRN_SERVER_CLUSTER_MAP_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Pieces that follow one another; begins zeroed but for @f. */
struct cairn_map_b64 {
    FILE *f;
    uint32_t bits;
    int n; /* bytes in @bits */
};

void cairn_map_b64_put(struct cairn_map_b64 *b, const void *bytes, size_t len);
void cairn_map_b64_end(struct cairn_map_b64 *b);
/** In place: *@len bytes at the beginning of @s, ended by a zero. False: malformed. */
bool cairn_map_b64_decode(char *s, size_t *len);

#endif
