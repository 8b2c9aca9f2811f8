/** The program: descriptors, colours, and one command line. */
#include "tools/cairn/cli.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    /* Keys are shown as the UTF-8 that they are, wherever they are shown; tables ask the locale. */
    setlocale(LC_CTYPE, "C.UTF-8");
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    struct cli cli = { .in = stdin, .out = stdout, .err = stderr };
    cli.out_tty = isatty(STDOUT_FILENO) != 0;
    cli.err_tty = isatty(STDERR_FILENO) != 0;
    cli.color = cli.out_tty && (no_color == NULL || no_color[0] == '\0') && term != NULL && term[0] != '\0';
    return cli_main(&cli, argc, argv);
}
