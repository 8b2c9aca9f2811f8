/* Runs a fuzz target over the files of a folder, and over every beginning of the shorter ones. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_BYTES_MAX = 1 << 20, PREFIXES_BELOW_BYTES = 256 };

static void replay(const char *path)
{
    static uint8_t buf[FILE_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        perror(path);
        exit(1);
    }
    n = fread(buf, 1, sizeof(buf), f);
    fclose(f);
    LLVMFuzzerTestOneInput(buf, n);
    for (size_t i = 0; n < PREFIXES_BELOW_BYTES && i < n; i++)
        LLVMFuzzerTestOneInput(buf, i);
}

int main(int argc, char **argv)
{
    struct dirent **list;
    int n = argc == 2 ? scandir(argv[1], &list, NULL, alphasort) : -1, ran = 0;

    for (int i = 0; i < n; i++) {
        char path[4096];

        if (list[i]->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", argv[1], list[i]->d_name);
            replay(path);
            ran++;
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    printf("%d inputs replayed\n", ran);
    return ran > 0 ? 0 : 1; /* a corpus that is not there tests nothing */
}
