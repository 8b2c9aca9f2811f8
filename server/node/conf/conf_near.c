/* "Did you mean": the nearest of the candidates by edit distance, with exchanged neighbours as one edit. */
#include "server/node/conf/conf_internal.h"

#include <string.h>

enum { NEAR_BYTES_MAX = 48 };

/* Restricted Damerau-Levenshtein; at most NEAR_BYTES_MAX squared steps, on the stack. */
static uint32_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint8_t rows[3][NEAR_BYTES_MAX + 1];
    uint8_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        uint8_t *spare = before;

        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= nb; j++) {
            uint32_t d = (uint32_t)last[j - 1] + (a[i - 1] != b[j - 1]);

            d = MIN(d, (uint32_t)last[j] + 1);
            d = MIN(d, (uint32_t)row[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = MIN(d, (uint32_t)before[j - 2] + 1);
            row[j] = (uint8_t)d;
        }
        before = last;
        last = row;
        row = spare;
    }
    return last[nb];
}

void cairn_conf__near_init(struct conf_near *near, const char *word)
{
    /* One edit in three letters still looks like a slip; more looks like another word. */
    *near = (struct conf_near){ .word = word, .distance = (uint32_t)MIN(strlen(word), (size_t)NEAR_BYTES_MAX) / 3 + 2 };
}

void cairn_conf__near_offer(struct conf_near *near, const char *candidate)
{
    size_t na = strlen(near->word), nb = strlen(candidate);
    uint32_t d;

    if (na == 0 || na > NEAR_BYTES_MAX || nb > NEAR_BYTES_MAX)
        return;
    d = edit_distance(near->word, na, candidate, nb);
    if (d < near->distance && d < nb) { /* as many edits as letters: nothing in common */
        near->distance = d;
        near->best = candidate;
    }
}
