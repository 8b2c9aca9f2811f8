/** Values from files and streams, and to them. */
#include "tools/cairn/client.h"
#include "tools/cairn/out.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_stream(struct cli *cli, FILE *from, const char *name, uint64_t max, struct cli_blob *blob)
{
    size_t room = 0;
    for (;;) {
        if (blob->len == room) {
            room = room == 0 ? 64 << 10 : room * 2;
            void *more = realloc(blob->data, room);
            if (more == NULL)
                return cli_fail(cli, CAIRN_E_NOMEM, NULL, "reading %s", name);
            blob->data = more;
        }
        size_t n = fread((char *)blob->data + blob->len, 1, room - blob->len, from);
        blob->len += n;
        if (blob->len > max)
            return cli_fail(cli, CAIRN_E_TOOBIG, NULL, "reading %s", name);
        if (n == 0)
            return ferror(from) ? cli_fail_file(cli, name) : CLI_OK;
    }
}

static int read_file(struct cli *cli, const char *path, uint64_t max, struct cli_blob *blob)
{
    struct stat st;
    int status = CLI_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        status = cli_fail_file(cli, path);
        goto out;
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > max) {
        status = cli_fail(cli, CAIRN_E_TOOBIG, NULL, "%s", path);
    } else if (S_ISREG(st.st_mode) && st.st_size > CLI_BLOB_COPIED_BYTES) {
        int rc = guarded_map(fd, (uint64_t)st.st_size, &blob->map);
        fd = -1;
        if (rc != 0) {
            errno = rc;
            return rc == CAIRN_E_STATE ? cli_file_changed(cli, path) : cli_fail_file(cli, path);
        }
        blob->data = blob->map.data;
        blob->len = (size_t)st.st_size;
        blob->mapped = true;
    } else { /* small; or a pipe, a device, a file of /proc whose size says nothing */
        FILE *from = fdopen(fd, "r");
        if (from == NULL) {
            status = cli_fail_file(cli, path);
            goto out;
        }
        status = read_stream(cli, from, path, max, blob);
        fclose(from);
        return status;
    }
out:
    if (fd >= 0)
        close(fd);
    return status;
}

int cli_blob_read(struct cli *cli, const char *path, uint64_t max, struct cli_blob *blob)
{
    *blob = (struct cli_blob){ 0 };
    int status = path == NULL || strcmp(path, "-") == 0 ? read_stream(cli, cli->in, "standard input", max, blob)
                                                        : read_file(cli, path, max, blob);
    if (status != CLI_OK)
        cli_blob_free(blob);
    return status;
}

bool cli_blob_free(struct cli_blob *blob)
{
    bool same = true;
    if (blob->mapped)
        same = guarded_unmap(&blob->map) == 0;
    else
        free(blob->data);
    *blob = (struct cli_blob){ 0 };
    return same;
}

int cli_file_changed(struct cli *cli, const char *path)
{
    return cli_fail(cli, CAIRN_E_STATE, "the file changed while it was read", "%s", path);
}

/* ---- a file that gets its name when all of it is there ---- */

/* What Ctrl-C would leave behind; one file is open at a time. */
static char *volatile unfinished;

static void on_interrupt(int sig)
{
    if (unfinished != NULL)
        unlink(unfinished);
    raise(sig); /* its action is the default again */
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

static void catch_interrupts(char *temporary)
{
    struct sigaction now,
        sa = { .sa_handler = temporary != NULL ? on_interrupt : SIG_DFL, .sa_flags = (int)SA_RESETHAND };
    unfinished = temporary;
    for (uint32_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    }
}

int cli_file_open(struct cli *cli, const char *path, struct cli_file *f)
{
    *f = (struct cli_file){ .fd = -1, .path = path };
    if (asprintf(&f->temporary, "%s.XXXXXX", path) < 0) {
        f->temporary = NULL;
        return cli_fail(cli, CAIRN_E_NOMEM, NULL, "%s", path);
    }
    sigset_t late, before; /* between the file and its handler */
    sigemptyset(&late);
    for (uint32_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&late, signals[i]);
    pthread_sigmask(SIG_BLOCK, &late, &before);
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
    catch_interrupts(f->fd >= 0 ? f->temporary : NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    mode_t mask = umask(0);
    umask(mask);
    return f->fd >= 0 && fchmod(f->fd, 0666 & ~mask) == 0 ? CLI_OK : cli_fail_file(cli, path);
}

int cli_file_map(struct cli *cli, struct cli_file *f, size_t size)
{
    errno = posix_fallocate(f->fd, 0, (off_t)size); /* a full disk shows here, not as a fault in the pages */
    if (errno != 0)
        return cli_fail_file(cli, f->path);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (data == MAP_FAILED)
        return cli_fail_file(cli, f->path);
    f->data = data;
    f->size = size;
    return CLI_OK;
}

int cli_file_close(struct cli *cli, struct cli_file *f, int status)
{
    if (f->data != NULL)
        munmap(f->data, f->size);
    if (f->fd >= 0) {
        if (close(f->fd) != 0 && status == CLI_OK)
            status = cli_fail_file(cli, f->path);
        if (status == CLI_OK && rename(f->temporary, f->path) != 0)
            status = cli_fail_file(cli, f->path);
        if (status != CLI_OK)
            unlink(f->temporary);
    }
    catch_interrupts(NULL);
    free(f->temporary);
    return status;
}

bool cli_is_stream(const char *path)
{
    struct stat st;
    return path == NULL || strcmp(path, "-") == 0 || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

int cli_write_out(struct cli *cli, const char *path, const void *data, size_t len)
{
    if (path == NULL || strcmp(path, "-") == 0)
        return len == 0 || fwrite(data, 1, len, cli->out) == len ? CLI_OK : cli_fail_file(cli, "standard output");

    /* Into a file of its own first, so that a failure leaves what was there. Devices and pipes are written as they are.
     */
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        FILE *to = fopen(path, "w");
        bool wrote = to != NULL && (len == 0 || fwrite(data, 1, len, to) == len);
        if (to != NULL && fclose(to) != 0)
            wrote = false;
        return wrote ? CLI_OK : cli_fail_file(cli, path);
    }
    struct cli_file f;
    int status = cli_file_open(cli, path, &f);
    bool good = status == CLI_OK;
    for (size_t at = 0; good && at < len;) {
        ssize_t n = write(f.fd, (const char *)data + at, len - at);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            good = false;
    }
    if (status == CLI_OK && !good)
        status = cli_fail_file(cli, path);
    return cli_file_close(cli, &f, status);
}

int cli_value_too_long(struct cli *cli, const char *name)
{
    char most[CLI_UNIT_BYTES];
    return cli_usage(cli, "%s is longer than a document of --json may hold (%s): name a FILE for it", name,
                     cli_size(most, CLI_JSON_VALUE_BYTES_MAX));
}

int cli_write_value(struct cli *cli, const char *path, const void *data, size_t len, json_t *o)
{
    bool inside = cli->g.json && (path == NULL || strcmp(path, "-") == 0);
    int status = CLI_OK;
    if (inside && len > CLI_JSON_VALUE_BYTES_MAX)
        status = cli_value_too_long(cli, "the value");
    else if (!inside)
        status = cli_write_out(cli, path, data, len);
    if (status != CLI_OK || !cli->g.json) {
        json_decref(o);
        return status;
    }
    json_object_set_new(o, "bytes", json_integer((json_int_t)len));
    if (inside)
        cli_json_bytes(o, "value", len > 0 ? data : "", len);
    else
        json_object_set_new(o, "file", cli_json_text(path));
    return cli_json(cli, o);
}
