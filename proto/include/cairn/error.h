/** The one space of error codes, from storage to wire to user.
 *
 * 0 is success; every failure is negative. A code is for programs and keeps its meaning on the way up; texts are for
 * people. The numbers are a wire format: never reuse one. */
#ifndef CAIRN_ERROR_H
#define CAIRN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/*  X(name, number, text, hint): the text says what happened, the hint what to do. */
#define CAIRN_ERRORS(X)                                                                                                \
    X(INVAL, 1, "invalid argument", "check the arguments against the documentation of the call")                       \
    X(NOMEM, 2, "out of memory", "free memory on this machine or lower the configured limits")                         \
    X(NOSPACE, 3, "no space left", "remove data or add storage; reads go on meanwhile")                                \
    X(NOTFOUND, 4, "not found", "check the name; `cairn ls` and `cairn ns list` show what is there")                   \
    X(EXISTS, 5, "exists already", "choose another name, or remove the existing one first")                            \
    X(BUSY, 6, "too much is in flight", "wait for outstanding calls, then try again")                                  \
    X(TIMEOUT, 7, "the deadline has passed", "check that the node is alive (`cairn status`) or allow more time")       \
    X(CANCELED, 8, "canceled", "the caller canceled the call")                                                         \
    X(UNREACHABLE, 9, "the node cannot be reached", "check the address and that cairnd is running")                    \
    X(CLOSED, 10, "closed", "the session was closed; connect again")                                                   \
    X(DENIED, 11, "permission denied", "ask the owner of what was refused, or an administrator, for access")           \
    X(AUTH, 12, "authentication failed", "name the cluster key (--key FILE, $CAIRN_KEY), or run MUNGE on both hosts")  \
    X(PROTO, 13, "malformed message", "client and server may differ in version; see `cairn version`")                  \
    X(VERSION, 14, "incompatible version", "bring client and server to the same version")                              \
    X(NOMETHOD, 15, "no such method", "the server may be older than the client; see `cairn version`")                  \
    X(NOPROVIDER, 16, "no such provider", "`cairn status` lists the providers of a node")                              \
    X(TOOBIG, 17, "too big", "split the value, or raise the limit in the configuration")                               \
    X(CORRUPT, 18, "stored data is corrupt", "store it again from its source (`cairn import --compare`, `cairn put`)") \
    X(IO, 19, "input/output error", "check the disk and the kernel log of the server")                                 \
    X(FAULT, 20, "bad memory in a bulk transfer", "the buffer was unmapped or does not belong to the caller")          \
    X(UNKNOWN, 21, "outcome unknown", "the write may have happened; read it back before writing again")                \
    X(SHUTDOWN, 22, "the node is shutting down", "try another node, or again when it is back")                         \
    X(LOCKED, 23, "in use by another process", "stop the other process, or use another directory")                     \
    X(FORMAT, 24, "unknown data format", "the data was written by a newer version; upgrade this one")                  \
    X(CONFIG, 25, "configuration error", "mend the configuration; `cairn config check FILE` lists every error")        \
    X(LIMIT, 26, "a limit was reached", "close what is not needed, or raise the limit in the configuration")           \
    X(UNSUPPORTED, 27, "not supported", "use another backend or transport")                                            \
    X(INTERNAL, 28, "internal error", "this is a defect: please report it with the server's log")                      \
    X(NOTEMPTY, 29, "not empty", "remove the contents first, or ask for removal of all of it")                         \
    X(STATE, 30, "not possible in this state", "check the order of calls")                                             \
    X(MOVED, 31, "another node serves this now", "the client library follows by itself; look at `cairn status`")       \
    X(GONE, 32, "the session has ended", "open a new one; whether its last writes happened has to be read back")

enum cairn_error {
    CAIRN_OK = 0,
#define X(name, number, text, hint) CAIRN_E_##name = -(number),
    CAIRN_ERRORS(X)
#undef X
        CAIRN_E_LAST = -32
};

#if defined(__GNUC__) && !defined(CAIRN_API)
#define CAIRN_API __attribute__((visibility("default")))
#endif

/** The name ("CAIRN_E_NOSPACE"), text and hint of @code; never NULL, static, safe from any thread.
 * A number that is no error code gives "CAIRN_E_?" and its kin. */
CAIRN_API const char *cairn_error_name(int code);
CAIRN_API const char *cairn_error_text(int code);
CAIRN_API const char *cairn_error_hint(int code);

#ifdef __cplusplus
}
#endif
#endif
