/* Base64: see map_base64.h. */
#include "server/cluster/map_base64.h"

#include <string.h>

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void cairn_map_b64_put(struct cairn_map_b64 *b, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++) {
        b->bits = b->bits << 8 | p[i];
        if (++b->n < 3)
            continue;
        for (int shift = 18; shift >= 0; shift -= 6)
            fputc(b64_digits[b->bits >> shift & 63], b->f);
        b->bits = 0;
        b->n = 0;
    }
}

void cairn_map_b64_end(struct cairn_map_b64 *b)
{
    uint32_t bits = b->bits << (8 * (3 - b->n));

    for (int i = 0; b->n > 0 && i < 4; i++)
        fputc(i <= b->n ? b64_digits[bits >> (18 - 6 * i) & 63] : '=', b->f);
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool cairn_map_b64_decode(char *s, size_t *len)
{
    size_t n = strlen(s), out = 0;
    uint32_t bits = 0;

    if (n % 4 != 0)
        return false;
    for (int pad = 0; pad < 2 && n > 0 && s[n - 1] == '='; pad++)
        n--;
    for (size_t i = 0; i < n; i++) {
        int d = digit(s[i]);

        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 == 3) {
            s[out++] = (char)(bits >> 16);
            s[out++] = (char)(bits >> 8);
            s[out++] = (char)bits;
            bits = 0;
        }
    }
    if (n % 4 == 1)
        return false;
    if (n % 4 == 2)
        s[out++] = (char)(bits >> 4);
    if (n % 4 == 3) {
        s[out++] = (char)(bits >> 10);
        s[out++] = (char)(bits >> 2);
    }
    s[out] = '\0';
    *len = out;
    return true;
}
