/* cc hello.c $(pkg-config --cflags --libs cairn) && ./a.out    (a node runs, and has the namespace "demo") */
#include <cairn/hashed.h>
#include <stdio.h>

int main(void)
{
    struct cairn *c;
    struct cairn_ns *ns;
    struct cairn_error_info e;
    struct cairn_call_options o = { .size = sizeof(o), .error = &e };
    char back[13] = "";
    size_t len;

    if (cairn_connect(NULL, &c, &e) || cairn_ns_open(c, "demo", &ns, &o) ||
        cairn_put(ns, "greeting", 8, "hello, world", 12, &o) || cairn_get(ns, "greeting", 8, back, 12, &len, &o))
        return fprintf(stderr, "%s (%s)\n", e.text, cairn_error_hint(e.code)), 1;
    puts(back);
    cairn_ns_close(ns);
    cairn_close(c);
}
