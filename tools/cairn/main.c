/** The program: descriptors, colours, and one command line. */
#include "tools/cairn/cli.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A descriptor that whoever started us closed would be given to the next file or socket that is opened, and our output
 * would go there. What takes its place fails as a closed one does: it cannot be read, or written to. */
static void fill_standard_descriptors(void)
{
    static const int modes[] = { O_WRONLY, O_RDONLY, O_RDONLY };
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
            _exit(CLI_FAILED);
    }
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    /* Keys are shown as the UTF-8 that they are, wherever they are shown; tables ask the locale. */
    setlocale(LC_CTYPE, "C.UTF-8");
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    struct cli cli = { .in = stdin, .out = stdout, .err = stderr };
    cli.out_tty = isatty(STDOUT_FILENO) != 0;
    cli.err_tty = isatty(STDERR_FILENO) != 0;
    cli.color = cli.out_tty && (no_color == NULL || no_color[0] == '\0') && term != NULL && term[0] != '\0';
    struct winsize w;
    if (cli.out_tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0)
        cli.width = w.ws_col;
    return cli_main(&cli, argc, argv);
}
